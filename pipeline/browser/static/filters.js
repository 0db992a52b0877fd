// Every filter of the server, as a form.
import { html, useEffect, useState } from "./vendor/ui.min.js";
import { ask } from "./api.js";
import { go } from "./place.js";

const RANGES = ["px_a", "px_b", "px_change", "heldout_px_b", "energy_gain_b", "angle_change_deg", "max_angle_change_deg",
  "q_std_deg_b", "limit_violation_deg_b", "pve_max_mm_b", "height_m_b"];
const LISTS = ["dataset", "decision_b", "start_b", "decision_a", "start_a", "camera_b", "changed_most"];
const FLAGS = ["labelled_a", "labelled_b", "prediction_b", "pseudo_label_b"];

export function Filters({ about, place }) {
  const [facets, setFacets] = useState({});
  const [where, setWhere] = useState(place.where ?? "");
  useEffect(() => { ask("facets", { a: place.a, b: place.b }).then(setFacets, () => {}); }, [place.a, place.b]);
  useEffect(() => setWhere(place.where ?? ""), [place.where]);
  const titles = Object.fromEntries(about.columns.map((c) => [c.name, c.title]));
  const set = (name) => (value) => go({ ...place, [name]: value || undefined, after: undefined, before: undefined });
  const reset = () => go({ a: place.a, b: place.b, show: place.show, layers: place.layers });
  return html`<form aria-label="Filters" onSubmit=${(e) => e.preventDefault()}>
    <div class="tools"><h2 class="count">Filters</h2><button type="button" id="reset" onClick=${reset}>reset</button></div>
    <details open=${innerWidth > 760}>
      <summary>Who</summary>
      ${LISTS.slice(0, 3).map((name) => html`<${Choice} name=${name} title=${titles[name]} values=${facets[name]} chosen=${place[name]} set=${set(name)} />`)}
      <${Text} name="contains" title="photo contains" value=${place.contains} set=${set("contains")} />
      <${Pick} name="reviewed" title="reviewed" value=${place.reviewed} set=${set("reviewed")}
        options=${about.review_states.map((state) => [state, { no: "not reviewed", any: "reviewed" }[state] ?? state])} />
    </details>
    <details open=${innerWidth > 760}>
      <summary>Joints</summary>
      <${Pick} name="joint" title="joint limit" value=${place.joint} set=${set("joint")}
        options=${[["any", "any joint"], ...about.limited.map((name) => [name, name])]} />
      <${Pick} name="joint_state" title="is" value=${place.joint_state ?? "beyond"} always set=${set("joint_state")}
        options=${[["beyond", "beyond its limit"], ["at", "at its limit, or beyond"]]} />
    </details>
    <details open=${innerWidth > 760}>
      <summary>Figures</summary>
      ${RANGES.map((name) => html`<${Range} name=${name} title=${titles[name]} place=${place} set=${set} />`)}
    </details>
    <details>
      <summary>More</summary>
      ${LISTS.slice(3).map((name) => html`<${Choice} name=${name} title=${titles[name]} values=${facets[name]} chosen=${place[name]} set=${set(name)} />`)}
      ${FLAGS.map((name) => html`<${Pick} name=${name} title=${titles[name]} value=${place[name]} set=${set(name)} options=${[["yes", "yes"], ["no", "no"]]} />`)}
      <${Text} name="shard" title="shard" value=${place.shard} set=${set("shard")} />
    </details>
    <details open=${innerWidth > 760 || Boolean(place.where)}>
    <summary>SQL</summary>
    <label for="where"><span class="name">condition, as after WHERE</span></label>
    <textarea id="where" spellcheck="false" placeholder="px_b > 2 * px_a AND key LIKE '%7'" value=${where}
      onInput=${(e) => setWhere(e.target.value)}
      onKeyDown=${(e) => { if (e.key === "Enter" && !e.shiftKey) { e.preventDefault(); set("where")(where.trim()); } }}></textarea>
    <button type="button" id="where-apply" onClick=${() => set("where")(where.trim())}>apply</button>
    </details>
    <details><summary>Columns</summary><ul class="soft">${about.columns.map((c) => html`<li><code>${c.name}</code> ${c.title}</li>`)}</ul></details>
  </form>`;
}

function Choice({ name, title, values, chosen, set }) {
  const now = chosen === undefined ? [] : [].concat(chosen);
  const known = [...new Set([...(values ?? []), ...now])];
  return html`<label><span class="name">${title}</span>
    <select id=${`f-${name}`} multiple size=${Math.min(4, Math.max(2, known.length))}
      onChange=${(e) => set([...e.target.selectedOptions].map((o) => o.value))}>
      ${known.map((value) => html`<option value=${value} selected=${now.includes(value)}>${value}</option>`)}
    </select></label>`;
}

function Pick({ name, title, value, options, set, always }) {
  return html`<label><span class="name">${title}</span>
    <select id=${`f-${name}`} value=${value ?? ""} onChange=${(e) => set(e.target.value)}>
      ${!always && html`<option value="">all</option>`}
      ${options.map(([known, words]) => html`<option value=${known}>${words}</option>`)}
    </select></label>`;
}

// A field whose text is its own until it is left or Enter is pressed: answers that come meanwhile do not undo typing.
function Field({ value, set, ...rest }) {
  const [draft, setDraft] = useState(value ?? "");
  useEffect(() => setDraft(value ?? ""), [value]);
  return html`<input ...${rest} value=${draft} onInput=${(e) => setDraft(e.target.value)} onChange=${(e) => set(e.target.value)} />`;
}

function Text({ name, title, value, set }) {
  return html`<label><span class="name">${title}</span> <${Field} id=${`f-${name}`} value=${value} set=${set} /></label>`;
}

function Range({ name, title, place, set }) {
  return html`<fieldset><legend>${title}</legend><div class="pair">
    ${["min", "max"].map((side) => html`<${Field} key=${side} id=${`f-${side}-${name}`} type="number" step="any" placeholder=${side}
      aria-label=${`${side} ${title}`} value=${place[`${side}.${name}`]} set=${set(`${side}.${name}`)} />`)}
  </div></fieldset>`;
}
