// Questions to the server. An index that is being made is asked for again, and its progress told.

export class Refused extends Error {}

const PAUSE_MS = 400;

export async function ask(path, words = {}, { building, signal } = {}) {
  for (;;) {
    const answer = await fetch(`/api/${path}?${query(words)}`, { signal });
    if (!answer.ok) throw new Refused(await why(answer));
    const body = await answer.json();
    if (answer.status !== 202) return body;
    building?.(body.building);
    await new Promise((done) => setTimeout(done, PAUSE_MS));
  }
}

export async function askNumbers(path, words, Kind) {
  const answer = await fetch(`/api/${path}?${query(words)}`);
  if (!answer.ok) throw new Refused(await why(answer));
  return new Kind(await answer.arrayBuffer());
}

export async function send(path, body) {
  const answer = await fetch(`/api/${path}`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Refused(await why(answer));
  return answer.json();
}

async function why(answer) {
  const body = await answer.json().catch(() => ({}));
  return body.error ?? `the server answered ${answer.status}`;
}

// Names to a value or to several; what is empty is left out.
export function query(words) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(words)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") found.append(name, one);
    }
  }
  return found.toString();
}

export const who = ({ dataset, shard, key, person }) => ({ dataset, shard, key, person });

export function picture(person, { round, layers, size, snapshot }) {
  const drawn = layers.filter((layer) => round !== undefined || layer === "keypoints");
  return `/api/picture?${query({ ...who(person), round, layers: drawn.join(","), size, v: snapshot })}`;
}
