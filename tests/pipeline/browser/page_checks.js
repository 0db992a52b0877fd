// What the tests ask of a page as a whole: () => each check's list of offenders.
() => {
  const numbers = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = colour.map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = numbers(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.9) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const contrast = (element) => {
    const [a, b] = [numbers(getComputedStyle(element).color).slice(0, 3), behind(element)].map(luminance);
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const all = (selector) => [...document.querySelectorAll(selector)];
  const named = (e) => e.innerText || e.getAttribute("aria-label") || e.alt || e.labels?.length;
  const written = (e) => e.offsetParent && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  const scrolls = (e) => e.closest(".scroll, pre, .film, .hidden");
  const ids = all("[id]").map((e) => e.id);
  return {
    nameless: all("button, a, input, select, textarea, img, canvas[role]").filter((e) => !named(e)).map((e) => e.outerHTML),
    faint: all("body *").filter((e) => written(e) && contrast(e) < 4.5).map((e) => e.outerHTML.slice(0, 80)),
    wide: all("body *").filter((e) => e.offsetParent && !scrolls(e) && e.getBoundingClientRect().right > innerWidth + 1)
      .map((e) => e.outerHTML.slice(0, 80)),
    twice: ids.filter((id, i) => ids.indexOf(id) !== i),
  };
}
