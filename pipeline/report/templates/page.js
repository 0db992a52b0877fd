"use strict";
(() => {
  const LIGHT = {text: "#1c2127", muted: "#5c6670", line: "#dfe3e8", before: "#c8862a", after: "#1f6fb2",
                 palette: ["#1f6fb2", "#c8862a", "#2a9d6f", "#b23a5b", "#7a5bb5", "#6b7280"]};
  const DARK = {text: "#e7eaee", muted: "#a0aab5", line: "#343b44", before: "#e3a857", after: "#6cb2ee",
                palette: ["#6cb2ee", "#e3a857", "#5fcf9f", "#f08aa6", "#b79cf0", "#9aa3ae"]};
  const specs = JSON.parse(document.getElementById("charts").textContent);
  const night = window.matchMedia("(prefers-color-scheme: dark)");
  let drawn = [];

  const axis = (look) => ({
    axisLine: {lineStyle: {color: look.line}},
    axisLabel: {color: look.muted, fontSize: 11},
    nameTextStyle: {color: look.muted, fontSize: 11},
    splitLine: {lineStyle: {color: look.line}},
  });

  const short = (value) => Number(value.toPrecision(3)).toLocaleString("en");

  // on paper: as wide as one, or two beside each other, are on A4; the style sheet scales them to what it really is
  function draw(look, onPaper = false) {
    drawn.forEach((chart) => chart.dispose());
    echarts.registerTheme("page", {
      textStyle: {color: look.text, fontFamily: "inherit"},
      legend: {textStyle: {color: look.text, fontSize: 11}},
      categoryAxis: axis(look),
      valueAxis: {...axis(look), axisLabel: {color: look.muted, fontSize: 11, formatter: short}},
    });
    drawn = [...document.querySelectorAll(".plot")].map((place) => {
      const spec = specs[Number(place.dataset.chart)];
      const colors = spec.roles.length ? spec.roles.map((role) => look[role]) : look.palette;
      // As text, never as HTML: names in it are those of other people's files.
      const tooltip = {...spec.option.tooltip, renderMode: "richText", confine: true,
                       backgroundColor: look === DARK ? "#22272e" : "#fff", borderColor: look.line,
                       textStyle: {color: look.text, fontSize: 12}};
      const series = spec.option.series.map((item, i) => item.type === "boxplot"
        ? {...item, itemStyle: {...item.itemStyle, color: "transparent", borderColor: colors[i % colors.length]}} : item);
      const chart = echarts.init(place, "page", {
        renderer: "svg", width: onPaper ? (place.closest(".wide") ? 680 : 320) : undefined,
      });
      chart.setOption({...spec.option, color: colors, tooltip, series});
      return chart;
    });
  }

  const drawForScreen = () => draw(night.matches ? DARK : LIGHT);
  drawForScreen();
  night.addEventListener("change", drawForScreen);
  window.addEventListener("beforeprint", () => {
    draw(LIGHT, true);
    document.querySelectorAll(".plot svg").forEach((svg) => {
      svg.setAttribute("viewBox", `0 0 ${svg.getAttribute("width")} ${svg.getAttribute("height")}`);
      svg.setAttribute("preserveAspectRatio", "xMinYMin meet");
    });
  });
  window.addEventListener("afterprint", drawForScreen);
  new ResizeObserver(() => window.matchMedia("print").matches || drawn.forEach((chart) => chart.resize())).observe(document.body);

  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };
  // Figures before words, the unknown last in either direction.
  const compare = (one, other) => {
    const figures = [one, other].map((item) => typeof item === "number");
    if (figures[0] !== figures[1]) return figures[0] ? -1 : 1;
    return figures[0] ? one - other : one.localeCompare(other, undefined, {numeric: true});
  };
  document.querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0], column = head.cellIndex;
    const rising = head.getAttribute("aria-sort") === "descending";
    head.parentElement.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const unknown = (row) => row.cells[column].textContent === "-";
    body.append(...[...body.rows].sort((a, b) => {
      if (unknown(a) !== unknown(b)) return unknown(a) ? 1 : -1;
      return (rising ? 1 : -1) * compare(value(a, column), value(b, column));
    }));
  }));
})();
