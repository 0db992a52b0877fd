// The grid of people that the filters take.
import { html, useEffect, useRef, useState } from "./vendor/ui.min.js";
import { ask, picture, query, who } from "./api.js";
import { Charts } from "./charts.js";
import { Filters } from "./filters.js";
import { asked, follow, go, withPerson } from "./place.js";
import { onKeys, saveReview, VERDICT_KEYS } from "./review.js";

const LAYERS = "keypoints,skin";
const PAGE = 48;
const SHOWN = { b: "B", a: "A", both: "A and B" };

export const layersOf = (place) => (place.layers ?? LAYERS).split(",").filter((layer) => layer !== "none");

export function Browse({ about, place }) {
  const [page, setPage] = useState(null);
  const [count, setCount] = useState(null);
  const [error, setError] = useState(null);
  const [building, setBuilding] = useState(null);
  const [chosen, setChosen] = useState(-1);
  const [said, setSaid] = useState("");
  const [again, setAgain] = useState(0);
  const words = asked(place);
  const key = query(words);
  const { after, before, ...counted } = words;

  useEffect(() => {
    const stop = new AbortController();
    const on = { building: setBuilding, signal: stop.signal };
    const failed = (e) => { if (e.name !== "AbortError") { setError(e.message); setBuilding(null); setPage(null); } };
    ask("people", { ...words, limit: PAGE }, on).then((found) => {
      setPage(found); setError(null); setBuilding(null);
    }, failed);
    return () => stop.abort();
  }, [key, again]);
  useEffect(() => setChosen(-1), [key]);
  useEffect(() => {
    const stop = new AbortController();
    ask("count", counted, { signal: stop.signal }).then(setCount, () => {});
    return () => stop.abort();
  }, [query(counted), again]);

  const rows = page?.rows ?? [];
  const state = useRef();
  state.current = { rows, chosen, place, page };
  useEffect(() => onKeys((pressed) => {
    const { rows, chosen, place } = state.current;
    const move = { j: 1, k: -1 }[pressed];
    if (move && rows.length) {
      const next = Math.max(0, Math.min(rows.length - 1, chosen + move));
      setChosen(next);
      document.getElementById(`card-${next}`)?.querySelector("a")?.focus();
    } else if (VERDICT_KEYS[pressed] && rows[chosen] && about.reviewer) {
      const verdict = VERDICT_KEYS[pressed];
      saveReview(rows[chosen], place.b, verdict, "").then(
        () => { setSaid(`${rows[chosen].key} #${rows[chosen].person}: ${verdict}`); setAgain((n) => n + 1); },
        (e) => setError(e.message));
    }
  }), []);

  return html`<div class="columns">
    <div class="box filters"><${Filters} about=${about} place=${place} /></div>
    <main>
      <${Charts} about=${about} place=${place} />
      <section class="box" aria-label="People">
        <${Tools} about=${about} place=${place} count=${count} page=${page} />
        ${error && html`<p class="error" role="alert">${error}</p>`}
        ${building && html`<p role="status">Making the index of rounds ${place.a} and ${place.b}, once:
          ${building.done} of ${building.total || "?"} shards
          <progress max=${building.total || 1} value=${building.done} aria-label="index"></progress></p>`}
        ${page && !rows.length && html`<p id="nobody">Nobody: no person passes these filters.</p>`}
        <ul class=${place.show === "both" ? "grid two" : "grid"} id="grid">
          ${rows.map((row, i) => html`<${Card} key=${row.id} about=${about} place=${place} row=${row} number=${i} chosen=${i === chosen} />`)}
        </ul>
        <${Paging} place=${place} page=${page} />
        <p class="soft">Keys: j, k move; Enter opens${about.reviewer ? "; 1 good, 2 bad keypoints, 3 bad label, 4 wrong person" : ""}.</p>
        <p class="hidden" role="status" aria-live="polite">${said}</p>
      </section>
    </main>
  </div>`;
}

function Card({ about, place, row, number, chosen }) {
  const rounds = { a: ["a"], both: ["a", "b"] }[place.show] ?? ["b"];
  const layers = layersOf(place);
  const px = (value) => value === null ? "-" : value.toFixed(1);
  return html`<li class=${chosen ? "card chosen" : "card"} id=${`card-${number}`}>
    <a ...${follow(withPerson(place, row))} aria-label=${`${row.key}, person ${row.person}`}>
      <span class="shots">${rounds.map((side) => html`<img loading="lazy" width="256" height="256"
        alt=${`${row.key} person ${row.person}, round ${place[side]}`}
        src=${picture(row, { round: place[side], layers, size: 256, snapshot: snapshotOf(about, place[side]) })} />`)}</span>
      <span class="words">
        <span class="key">${row.key} #${row.person}</span> ${row.verdict && html`<span class=${`badge ${row.verdict}`}>${row.verdict}</span>`}<br />
        <span class="key-a">${px(row.px_a)}</span> → <span class="key-b">${px(row.px_b)}</span> px
        ${row.angle_change_deg !== null && `, moved ${row.angle_change_deg.toFixed(1)}°`}<br />
        <span class="soft">${row.decision_b ?? "not in B"}</span>
      </span>
    </a></li>`;
}

export const snapshotOf = (about, round) => about.rounds.find((item) => String(item.round) === String(round))?.snapshot;

function Tools({ about, place, count, page }) {
  const set = (change) => go({ ...place, ...change, after: undefined, before: undefined });
  const show = (change) => go({ ...place, ...change });
  const layers = layersOf(place);
  const toggle = (layer) => {
    const next = layers.includes(layer) ? layers.filter((one) => one !== layer) : [...layers, layer];
    show({ layers: next.join(",") || "none" });
  };
  const { after, before, ...whole } = asked(place);
  return html`<div class="tools">
    <span class="count" id="count" role="status">${count ? `${count.count.toLocaleString("en")} of ${count.of.toLocaleString("en")} people` : "..."}</span>
    <label>Sort by <select id="sort" value=${place.sort ?? ""} onChange=${(e) => set({ sort: e.target.value })}>
      <option value="">the data's order</option>
      ${about.columns.map((c) => html`<option value=${c.name}>${c.title}</option>`)}
    </select></label>
    <button id="order" aria-pressed=${place.order === "desc"} onClick=${() => set({ order: place.order === "desc" ? undefined : "desc" })}>
      ${place.order === "desc" ? "largest first" : "smallest first"}</button>
    <span role="group" aria-label="Drawn over the photos">
      ${about.layers.map((layer) => html`<button class=${layers.includes(layer) ? "on" : ""} aria-pressed=${layers.includes(layer)} id=${`layer-${layer}`} onClick=${() => toggle(layer)}>${layer}</button> `)}
    </span>
    <label>Round <select id="show" value=${place.show ?? "b"} onChange=${(e) => show({ show: e.target.value === "b" ? undefined : e.target.value })}>
      ${Object.entries(SHOWN).map(([value, name]) => html`<option value=${value}>${name}</option>`)}
    </select></label>
    <span>Download ${["csv", "parquet", "shards"].map((form) => html`<a id=${`download-${form}`} download href=${`/api/download/${form}?${query(whole)}`}>${form === "shards" ? "shard list" : form}</a> `)}</span>
  </div>`;
}

function Paging({ place, page }) {
  const full = page && page.rows.length === PAGE;
  const moved = place.after !== undefined || place.before !== undefined;
  const turn = (change) => { go({ ...place, after: undefined, before: undefined, ...change }); scrollTo(0, 0); };
  return html`<div class="tools">
    <button id="first" disabled=${!moved} onClick=${() => turn({})}>first page</button>
    <button id="previous" disabled=${!moved || !page?.first} onClick=${() => turn({ before: page.first })}>previous</button>
    <button id="next" disabled=${!page?.last || (!full && place.before === undefined)} onClick=${() => turn({ after: page.last })}>next</button>
  </div>`;
}
