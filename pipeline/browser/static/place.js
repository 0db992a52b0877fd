// The state of the page is its address: whatever is seen can be sent to somebody else.
import { useEffect, useState } from "./vendor/ui.min.js";
import { query } from "./api.js";

const PERSON = { dataset: "pd", shard: "ps", key: "pk", person: "pp" };

export function readPlace() {
  const words = {};
  for (const [name, value] of new URLSearchParams(location.search)) {
    words[name] = name in words ? [].concat(words[name], value) : value;
  }
  return words;
}

export function go(words, { replace = false } = {}) {
  const address = `/?${query(words)}`;
  if (address === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", address);
  dispatchEvent(new Event("place"));
}

export function usePlace() {
  const [place, setPlace] = useState(readPlace);
  useEffect(() => {
    const read = () => setPlace(readPlace());
    addEventListener("popstate", read);
    addEventListener("place", read);
    return () => { removeEventListener("popstate", read); removeEventListener("place", read); };
  }, []);
  return place;
}

export const shownPerson = (place) => place.pk === undefined ? null : {
  dataset: place.pd, shard: place.ps, key: place.pk, person: Number(place.pp),
};

export function withPerson(place, person) {
  const rest = { ...place };
  for (const [name, short] of Object.entries(PERSON)) rest[short] = person ? String(person[name]) : undefined;
  return rest;
}

// What the server filters and orders by: all but what says how it is shown.
export function asked(place) {
  const { pd, ps, pk, pp, layers, show, x, sx, sy, ...rest } = place;
  return rest;
}

export const link = (words) => `/?${query(words)}`;

// A link that changes the address without loading the page again.
export function follow(words) {
  return {
    href: link(words),
    onClick: (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
      event.preventDefault();
      go(words);
    },
  };
}
