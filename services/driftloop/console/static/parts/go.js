// Moving between pages from code.

import { search } from "./api.js";

// Go to a hash, such as "#/events?model=flights".
export function go(hash) {
  if (location.hash !== hash) location.hash = hash;
}

// The hash of an event list or of any page with a query: to("events", { model: "a" }).
export const to = (path, query) => `#/${path}${search(query)}`;

// Change the query of this page without a new entry in the history, and without routing.
export function rewrite(path, query) {
  history.replaceState(null, "", `${location.pathname}${location.search}${to(path, query)}`);
}

export const modelHash = (name, tab = "") => `#/model/${encodeURIComponent(name)}${tab ? `/${tab}` : ""}`;
export const runHash = (run) => `#/run/${encodeURIComponent(run)}`;
export const eventHash = (id) => `#/events/${encodeURIComponent(id)}`;
