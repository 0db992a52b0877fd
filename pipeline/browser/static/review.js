// Reviews: what the keys mean, and storing one.
import { html, useState } from "./vendor/ui.min.js";
import { send, who } from "./api.js";

export const VERDICT_KEYS = { 1: "good", 2: "bad_keypoints", 3: "bad_label", 4: "wrong_person" };

export const saveReview = (person, round, verdict, note) =>
  send("review", { ...who(person), round: Number(round), verdict, note });

// Calls `pressed` with single keys, unless somebody is writing; returns how to stop.
export function onKeys(pressed) {
  const heard = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    pressed(event.key);
  };
  addEventListener("keydown", heard);
  return () => removeEventListener("keydown", heard);
}

export function Reviews({ about, reviews, save }) {
  const [note, setNote] = useState("");
  const verdicts = Object.entries(VERDICT_KEYS);
  return html`<section class="box review" aria-labelledby="reviews">
    <h2 id="reviews">Reviews</h2>
    ${about.reviewer ? html`<div>
      <label for="note">Note</label>
      <textarea id="note" maxlength="2000" value=${note} onInput=${(e) => setNote(e.target.value)}></textarea>
      <div class="tools">
        ${[...verdicts, ["", "withdrawn"]].map(([key, verdict]) => html`<button id=${`verdict-${verdict}`}
          onClick=${() => save(verdict, note).then(() => setNote(""))}>${key} ${verdict === "withdrawn" ? "withdraw" : verdict.replace("_", " ")}</button>`)}
      </div></div>` : html`<p class="soft">This server writes no reviews. Start it with <code>browse.reviewer=NAME</code>.</p>`}
    <ul id="review-list">${reviews.map((item) => html`<li key=${item.id}>
      <span class=${`badge ${item.verdict}`}>${item.verdict}</span> by <strong>${item.reviewer}</strong>,
      <time datetime=${item.time}>${item.time.replace("T", " ").slice(0, 16)}</time>, of round ${item.round} ${item.note && html`<br /><span class="note">${item.note}</span>`}</li>`)}
      ${!reviews.length && html`<li class="soft">none yet</li>`}</ul>
  </section>`;
}
