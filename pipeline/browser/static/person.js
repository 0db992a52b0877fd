// One person: pictures by round, the bodies, the angles, the rounds' decisions, the raw rows and the video.
import { html, useEffect, useRef, useState } from "./vendor/ui.min.js";
import { ask, picture, query, who } from "./api.js";
import { layersOf, snapshotOf } from "./browse.js";
import { asked, follow, go, withPerson } from "./place.js";
import { onKeys, Reviews, saveReview, VERDICT_KEYS } from "./review.js";
import { Video } from "./video.js";
import { View3d } from "./view3d.js";

export function Person({ about, place, person }) {
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  const [near, setNear] = useState([]);
  const load = () => ask("person", who(person)).then(setFound, (e) => setError(e.message));
  useEffect(() => { load(); scrollTo(0, 0); }, [query(who(person))]);
  useEffect(() => { ask("people", { ...asked(place), limit: 48 }).then((page) => setNear(page.rows), () => {}); }, [query(asked(place))]);

  const at = near.findIndex((row) => query(who(row)) === query(who(person)));
  const step = (by) => { const next = near[at + by]; if (at >= 0 && next) go(withPerson(place, next)); };
  const save = (verdict, note) => saveReview(person, place.b, verdict, note).then(() => { setError(null); return load(); }, (e) => setError(e.message));
  const state = useRef();
  state.current = { step, save };
  useEffect(() => onKeys((key) => {
    if (key === "j") state.current.step(1);
    else if (key === "k") state.current.step(-1);
    else if (key === "Escape") go(withPerson(place, null));
    else if (VERDICT_KEYS[key] && about.reviewer) state.current.save(VERDICT_KEYS[key], "");
  }), []);

  const layers = layersOf(place);
  const drawn = (round, shown, size) => picture(person, { round, layers: shown, size, snapshot: round === undefined ? undefined : snapshotOf(about, round) });
  const sides = { a: sideOf(found, place.a), b: sideOf(found, place.b) };
  return html`<main class="columns person" style=${{ gridTemplateColumns: "minmax(0,1fr)" }}><div>
    <nav class="tools box" aria-label="People">
      <a id="back" ...${follow(withPerson(place, null))}>back to the people</a>
      <button id="person-previous" disabled=${at < 1} onClick=${() => step(-1)}>k previous</button>
      <button id="person-next" disabled=${at < 0 || at >= near.length - 1} onClick=${() => step(1)}>j next</button>
      <strong class="count" id="person-name">${person.dataset} / ${person.shard} / ${person.key} #${person.person}</strong>
    </nav>
    ${error && html`<p class="error" role="alert">${error}</p>`}
    <section class="box" aria-labelledby="pictures"><h2 id="pictures">Photo, and each round over it</h2>
      <div class="shots">
        <figure><img alt="photo" src=${drawn(undefined, [], 512)} /><figcaption>photo</figcaption></figure>
        <figure><img alt="keypoints" src=${drawn(undefined, ["keypoints"], 512)} /><figcaption>keypoints</figcaption></figure>
        ${(found?.rounds ?? []).map((item) => html`<figure key=${item.round}>
          <img alt=${`round ${item.round}`} src=${drawn(item.round, layers.length ? layers : ["skin"], 512)} />
          <figcaption>round ${item.round}: ${item.decision}${item.px === null ? "" : `, ${item.px.toFixed(2)} px`}</figcaption></figure>`)}
      </div></section>
    <div class="halves">
      <section class="box view3d" aria-labelledby="bodies"><h2 id="bodies">Bodies of rounds A and B</h2>
        <${View3d} person=${person} a=${sides.a && place.a} b=${sides.b && place.b} /></section>
      <div>
        <${Reviews} about=${about} reviews=${found?.reviews ?? []} save=${save} />
        <${History} rounds=${found?.rounds ?? []} />
      </div>
    </div>
    <section class="box" aria-labelledby="angles"><h2 id="angles">Angles, degrees, in their ranges; bars are q_std</h2>
      <p class="soft"><span class="key-a">round ${place.a}</span>, <span class="key-b">round ${place.b}</span>; grey: allowed</p>
      <${Angles} about=${about} a=${sides.a} b=${sides.b} /></section>
    <${Video} about=${about} place=${place} person=${person} />
    <section class="box" aria-labelledby="raw"><h2 id="raw">Raw rows</h2>
      ${(found?.rounds ?? []).map((item) => html`<details key=${item.round}><summary>round ${item.round}</summary>
        <pre tabindex="0">${JSON.stringify(item.row, null, 1)}</pre></details>`)}</section>
  </div></main>`;
}

function sideOf(found, round) {
  const item = found?.rounds.find((one) => String(one.round) === String(round));
  return item?.labelled ? item : null;
}

function History({ rounds }) {
  return html`<section class="box" aria-labelledby="history"><h2 id="history">Through the rounds</h2>
    <div class="scroll" tabindex="0" role="region" aria-label="history"><table id="history-table">
      <thead><tr><th scope="col">round</th><th scope="col">decision</th><th scope="col">px</th><th scope="col">why</th><th scope="col">lineage</th></tr></thead>
      <tbody>${rounds.map((item) => html`<tr key=${item.round}>
        <th scope="row">${item.round}</th><td>${item.decision}</td><td>${item.px === null ? "-" : item.px.toFixed(2)}</td>
        <td class="wide">${item.reason}</td>
        <td><details><summary>${item.lineage.run.slice(0, 12)}</summary><table><tbody>
          ${Object.entries(item.lineage).map(([name, value]) => html`<tr><th scope="row">${name}</th><td>${value ?? "none"}</td></tr>`)}
        </tbody></table></details></td></tr>`)}</tbody></table></div></section>`;
}

const WIDTH = 240;

function Angles({ about, a, b }) {
  return html`<ul class="angles" id="angle-list">${about.angles.map((angle, i) => {
    const low = angle.low ?? -180, high = angle.high ?? 180;
    const room = (high - low) * 0.15;
    const x = (value) => ((value - low + room) / (high - low + 2 * room)) * WIDTH;
    const values = [a?.q_deg?.[i], b?.q_deg?.[i]];
    const text = values.map((value) => value === undefined || value === null ? "-" : value.toFixed(1));
    return html`<li key=${angle.name}><span>${angle.name}</span>
      <svg viewBox="0 0 ${WIDTH} 18" preserveAspectRatio="none" role="img" aria-label=${`${angle.name}: ${text.join(" then ")}, allowed ${angle.low === null ? "any" : `${low.toFixed(0)} to ${high.toFixed(0)}`}`}>
        <rect x=${x(low)} y="6" width=${x(high) - x(low)} height="6" rx="3" fill="#d5dbe5" />
        ${[a, b].map((side, k) => values[k] === undefined || values[k] === null ? null : html`<${Mark} at=${x(values[k])}
          spread=${((side.q_std_deg?.[i] ?? 0) / (high - low + 2 * room)) * WIDTH} colour=${k ? "#1d4ed8" : "#b45309"} y=${k ? 12 : 6} />`)}
      </svg>
      <span class="figure"><span class="key-a">${text[0]}</span> <span class="key-b">${text[1]}</span></span></li>`;
  })}</ul>`;
}

function Mark({ at, spread, colour, y }) {
  const inside = (x) => Math.max(0, Math.min(WIDTH, x));
  return html`<g><line x1=${inside(at - spread)} x2=${inside(at + spread)} y1=${y} y2=${y} stroke=${colour} stroke-width="2" opacity=".6" />
    <rect x=${inside(at) - 1.5} y=${y - 5} width="3" height="10" fill=${colour} /></g>`;
}
