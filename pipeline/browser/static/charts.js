// Histogram and scatter plot of the filtered people; what is dragged over becomes a filter.
import { html, uPlot, useEffect, useRef, useState } from "./vendor/ui.min.js";
import { ask, query } from "./api.js";
import { asked, go } from "./place.js";

const HEIGHT = 210;
const INK = "#4a5568";
const BAR = "rgba(29,78,216,.55)";

export function Charts({ about, place }) {
  const [open, setOpen] = useState(innerWidth > 760);
  return html`<details class="box" open=${open} onToggle=${(e) => setOpen(e.target.open)}>
    <summary>Distributions</summary>
    ${open && html`<div class="charts">
      <${Histogram} about=${about} place=${place} /><${Scatter} about=${about} place=${place} />
    </div>`}
  </details>`;
}

const numbers = (about) => about.columns.filter((c) => c.kind === "number");
const titleOf = (about, name) => about.columns.find((c) => c.name === name)?.title ?? name;
const fine = (value) => String(Number(value.toPrecision(5)));

function Column({ id, label, about, value, set }) {
  return html`<label><span class="hidden">${label}</span><select id=${id} value=${value} onChange=${(e) => set(e.target.value)}>
    ${numbers(about).map((c) => html`<option value=${c.name}>${c.title}</option>`)}</select></label>`;
}

function useAnswer(path, words) {
  const [found, setFound] = useState({});
  useEffect(() => {
    const stop = new AbortController();
    ask(path, words, { signal: stop.signal }).then((answer) => setFound({ answer }), (e) => {
      if (e.name !== "AbortError") setFound({ error: e.message });
    });
    return () => stop.abort();
  }, [path, query(words)]);
  return found;
}

const filtersOf = (place) => { const { after, before, sort, order, ...rest } = asked(place); return rest; };

function narrowed(place, ranges) {
  const words = { ...place, after: undefined, before: undefined };
  for (const [column, [low, high]] of Object.entries(ranges)) {
    words[`min.${column}`] = fine(low);
    words[`max.${column}`] = fine(high);
  }
  go(words);
}

function Histogram({ about, place }) {
  const x = place.x ?? "px_b";
  const { answer, error } = useAnswer("histogram", { ...filtersOf(place), x });
  const plot = usePlot(answer && answer.counts.length > 1, () => {
    const middles = answer.counts.map((_, i) => (answer.edges[i] + answer.edges[i + 1]) / 2);
    return {
      data: [middles, answer.counts],
      options: {
        ...base(titleOf(about, x), "people"),
        scales: { x: { time: false, range: [answer.edges[0], answer.edges[answer.edges.length - 1]] }, y: { range: (u, low, high) => [0, high || 1] } },
        series: [{}, { fill: BAR, stroke: BAR, paths: uPlot.paths.bars({ size: [0.95] }), points: { show: false } }],
        cursor: { drag: { x: true, y: false, setScale: false }, y: false },
      },
      select: (u) => narrowed(place, { [x]: [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")] }),
    };
  }, [answer]);
  return html`<div class="chart" id="histogram">
    <${Column} id="histogram-x" label="histogram of" about=${about} value=${x} set=${(value) => go({ ...place, x: value })} />
    ${error ? html`<p class="error">${error}</p>` : html`<div class="plot" ref=${plot} role="img" aria-label=${`Histogram of ${titleOf(about, x)}`}></div>`}
    ${answer && html`<p class="soft">Drag to filter. Outside: ${answer.below + answer.above}; without a value: ${answer.unknown}.</p>`}
  </div>`;
}

function Scatter({ about, place }) {
  const x = place.sx ?? "px_a", y = place.sy ?? "px_b";
  const { answer, error } = useAnswer("scatter", { ...filtersOf(place), x, y });
  const plot = usePlot(answer?.x.length, () => ({
    data: [null, [answer.x, answer.y]],
    options: {
      ...base(titleOf(about, x), titleOf(about, y)),
      mode: 2,
      scales: { x: { time: false, range: padded(answer.x) }, y: { range: padded(answer.y) } },
      series: [null, { stroke: BAR, fill: BAR, paths: dots }],
      cursor: { drag: { x: true, y: true, uni: 5, setScale: false }, points: { show: false } },
    },
    select: (u) => narrowed(place, {
      [x]: [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")],
      [y]: [u.posToVal(u.select.top + u.select.height, "y"), u.posToVal(u.select.top, "y")],
    }),
  }), [answer]);
  return html`<div class="chart" id="scatter">
    <${Column} id="scatter-x" label="across" about=${about} value=${x} set=${(value) => go({ ...place, sx: value })} />
    <${Column} id="scatter-y" label="up" about=${about} value=${y} set=${(value) => go({ ...place, sy: value })} />
    ${error ? html`<p class="error">${error}</p>` : html`<div class="plot" ref=${plot} role="img" aria-label=${`${titleOf(about, y)} against ${titleOf(about, x)}`}></div>`}
    ${answer && html`<p class="soft">Drag to filter. ${answer.x.length.toLocaleString("en")} of ${answer.of.toLocaleString("en")} shown.</p>`}
  </div>`;
}

function padded(values) {
  const low = values.reduce((a, b) => Math.min(a, b), Infinity), high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const room = (high - low) * 0.04 || 1;
  return [low - room, high + room];
}

const base = (across, up) => ({
  height: HEIGHT,
  legend: { show: false },
  axes: [{ stroke: INK, label: across, labelSize: 18, size: 34 }, { stroke: INK, label: up, labelSize: 18, size: 46 }],
});

function dots(u, seriesIndex) {
  const [xs, ys] = u.data[seriesIndex];
  u.ctx.save();
  u.ctx.fillStyle = BAR;
  const size = 4 * devicePixelRatio;
  for (let i = 0; i < xs.length; i++) {
    u.ctx.fillRect(u.valToPos(xs[i], "x", true) - size / 2, u.valToPos(ys[i], "y", true) - size / 2, size, size);
  }
  u.ctx.restore();
  return null;
}

// A uPlot in the element of the returned ref, made anew with `make` when `needs` change.
export function usePlot(ready, make, needs) {
  const element = useRef(null);
  useEffect(() => {
    if (!ready || !element.current) return undefined;
    const { data, options, select } = make();
    const width = () => Math.max(200, element.current.clientWidth);
    const chosen = (u) => { if (select && u.select.width > 3) { const made = { ...u.select }; u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false); u.select = made; select(u); } };
    const plot = new uPlot({ ...options, width: width(), hooks: { ...options.hooks, setSelect: [chosen] } }, data, element.current);
    const seen = new ResizeObserver(() => plot.setSize({ width: width(), height: options.height }));
    seen.observe(element.current);
    return () => { seen.disconnect(); plot.destroy(); };
  }, needs);
  return element;
}
