import { html, render, useEffect, useState } from "./vendor/ui.min.js";
import { ask } from "./api.js";
import { Browse } from "./browse.js";
import { Person } from "./person.js";
import { go, shownPerson, usePlace } from "./place.js";

function App() {
  const [about, setAbout] = useState(null);
  const [error, setError] = useState(null);
  const place = usePlace();
  useEffect(() => { ask("rounds").then(setAbout, (e) => setError(e.message)); }, []);
  if (error) return html`<p class="error" role="alert">${error}</p>`;
  if (!about) return html`<p class="wait">Loading ...</p>`;
  const numbers = about.rounds.map((item) => String(item.round));
  const last = numbers[numbers.length - 1];
  const whole = { ...place };
  whole.b = numbers.includes(place.b) ? place.b : last;
  whole.a = numbers.includes(place.a) ? place.a : (numbers[numbers.indexOf(whole.b) - 1] ?? whole.b);
  const person = shownPerson(whole);
  document.title = person ? `${person.key} #${person.person}` : `Labels, rounds ${whole.a} and ${whole.b}`;
  return html`
    <${Header} about=${about} place=${whole} />
    ${person
      ? html`<${Person} key=${JSON.stringify(person)} about=${about} place=${whole} person=${person} />`
      : html`<${Browse} about=${about} place=${whole} />`}`;
}

function Header({ about, place }) {
  const choose = (name) => (event) => go({ ...place, [name]: event.target.value, after: undefined, before: undefined });
  const options = about.rounds.map((item) => html`
    <option value=${String(item.round)}>${item.round} (${item.rows.toLocaleString("en")} people)</option>`);
  return html`<header>
    <h1>Labels</h1>
    <label><span class="key-a">Round A</span> <select id="round-a" value=${place.a} onChange=${choose("a")}>${options}</select></label>
    <label><span class="key-b">Round B</span> <select id="round-b" value=${place.b} onChange=${choose("b")}>${options}</select></label>
    <span class="root">${about.root}${about.reviewer ? `, reviewing as ${about.reviewer}` : ", read-only"}</span>
  </header>`;
}

render(html`<${App} />`, document.getElementById("app"));
