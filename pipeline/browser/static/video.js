// The person's frames in a video, and one of its angles over them.
import { html, useEffect, useState } from "./vendor/ui.min.js";
import { ask, picture, query, who } from "./api.js";
import { layersOf, snapshotOf } from "./browse.js";
import { usePlot } from "./charts.js";
import { follow, withPerson } from "./place.js";

export function Video({ about, place, person }) {
  const [found, setFound] = useState(null);
  const [angle, setAngle] = useState("knee_angle_r");
  useEffect(() => {
    ask("video", { ...who(person), a: place.a, b: place.b }).then(setFound, () => setFound({ frames: [] }));
  }, [query(who(person)), place.a, place.b]);
  const frames = found?.frames ?? [];
  const index = about.angles.findIndex((item) => item.name === angle);
  const plot = usePlot(frames.length > 1, () => ({
    data: [frames.map((item) => item.frame), ...["a", "b"].map((side) => found.angles[side].map((q) => q?.[index] ?? null))],
    options: {
      height: 220,
      legend: { show: false },
      axes: [{ stroke: "#4a5568", label: "frame", labelSize: 18, size: 34 }, { stroke: "#4a5568", label: "degrees", labelSize: 18, size: 46 }],
      scales: { x: { time: false } },
      series: [{}, { stroke: "#b45309", width: 2, points: { size: 4 } }, { stroke: "#1d4ed8", width: 2, points: { size: 4 } }],
      cursor: { drag: { x: false, y: false } },
    },
  }), [found, index]);
  return html`<section class="box" aria-labelledby="video"><h2 id="video">In the video</h2>
    ${frames.length < 2 ? html`<p class="soft">This photo is no frame of a video.</p>` : html`<div>
      <p class="soft">${frames.length} frames near this one, by ${found.by}.</p>
      <label>Angle <select id="video-angle" value=${angle} onChange=${(e) => setAngle(e.target.value)}>
        ${about.angles.map((item) => html`<option value=${item.name}>${item.name}</option>`)}</select></label>
      <div class="plot" ref=${plot} role="img" aria-label=${`${angle} over the frames`}></div>
      <div class="film" tabindex="0" role="region" aria-label="frames">
        ${frames.map((item) => {
          const other = { ...person, key: item.key, person: item.person };
          const own = item.key === person.key && item.person === person.person;
          return html`<a key=${item.key} class=${own ? "own" : ""} aria-current=${own ? "true" : undefined} ...${follow(withPerson(place, other))}>
            <img loading="lazy" alt=${`frame ${item.frame}`} src=${picture(other, { round: place.b, layers: layersOf(place), size: 128, snapshot: snapshotOf(about, place.b) })} />${item.frame}</a>`;
        })}</div></div>`}
  </section>`;
}
