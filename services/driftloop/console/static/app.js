// The console: routes, one store, one stream.
//
// A page is a module in pages/, found by the first word of the hash (ROUTES below):
//
//   export const title = (params) => "Model flights";             // of the document
//   export const stream = (params, store) => ({ model: "x" });     // optional: query of /api/stream
//            ({ events: 1 } for facts; model has to be a known one)
//   export const key = (params) => "events";                      // optional: see route
//   export function page(root, params, store) -> { update?(what), route?(params), leave() }
//
//   root     an empty element of the page's own; build in it with h() from parts/dom.js (text only)
//   params   { page: "model", parts: ["flights", "features"], query: URLSearchParams, hash }
//            of "#/model/flights/features?a=b"
//   store    parts/store.js: cards, services, outages, hello, now(), may(scope, model), on(kind, hear)
//   update   is called at most once a frame, with the Set of kinds that were told since ("cards", ...);
//            facts ("said") and points ("evidence") are best gathered by store.on() and drawn in update
//   route    is called instead of leave and a new page where the page and its key are the same (the key
//            is the first part, unless `key` says another); without it the page is made anew
//   leave    stops timers, aborts requests, takes back what store.on() gave
//
// Ask with parts/api.js: load() asks again by itself after an outage. Links are plain
// <a href="#/model/flights">; go(hash) is for code. Styles of a page: css/pages.css.

import { h } from "./parts/dom.js";
import { createShell } from "./parts/shell.js";
import { createStore } from "./parts/store.js";
import { createStream } from "./parts/stream.js";

const ROUTES = {
  "": () => import("./pages/overview.js"),
  model: () => import("./pages/model.js"),
  run: () => import("./pages/run.js"),
  events: () => import("./pages/events.js"),
  data: () => import("./pages/data.js"),
  services: () => import("./pages/services.js"),
};

const root = document.getElementById("page");
const store = createStore();
const stream = createStream(store);
const shell = createShell(store);
const told = new Set();
let shown = null; // { page, key, module, handle }
let turn = 0;
let frame = 0;

// "#/model/flights/features?a=b" as params.
function read(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [page = "", ...parts] = path.split("/").filter(Boolean).map(decode);
  return { page, parts, query: new URLSearchParams(query), hash: hash || "#/" };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function route() {
  const params = read(location.hash);
  const mine = (turn += 1);
  shell.at(params.page);
  if (shown?.handle.route && shown.page === params.page && shown.key === keyOf(shown.module, params)) {
    name(shown.module, params);
    stream.open(asked(shown.module, params));
    shown.handle.route(params);
    return;
  }
  if (!Object.hasOwn(ROUTES, params.page)) {
    fail(`There is no page "${params.page}".`);
    return;
  }
  try {
    const module = await ROUTES[params.page]();
    if (mine === turn) enter(module, params);
  } catch (error) {
    console.error(error);
    if (mine === turn) fail(error.message);
  }
}

// What a page wants of the stream: no events, unless it says so.
const asked = (module, params) => ({ events: 0, ...module.stream?.(params, store) });
const keyOf = (module, params) => (module.key ? module.key(params) : params.parts[0] ?? "");

function enter(module, params) {
  const first = shown === null;
  leave();
  const place = h("div.page", { data: { page: params.page || "overview" } });
  root.replaceChildren(place);
  name(module, params);
  stream.open(asked(module, params));
  shown = { page: params.page, key: keyOf(module, params), module, handle: module.page(place, params, store) };
  if (!first) root.focus({ preventScroll: true });
  root.scrollTop = 0;
}

function leave() {
  try {
    shown?.handle.leave();
  } catch (error) {
    console.error(error);
  }
  shown = { page: null, key: null, module: {}, handle: { leave() {} } };
}

function name(module, params) {
  shell.title(module.title?.(params) ?? "");
}

function fail(text) {
  leave();
  stream.open(asked({}, {}));
  shell.title("Not found");
  root.replaceChildren(h("div.page", null, h("div.empty", null, h("h1.empty-title", null, "This page cannot be shown"), h("p", null, text),
    h("p", null, h("a", { href: "#/" }, "To the overview")))));
}

for (const kind of ["hello", "cards", "services", "outages", "said", "missed", "evidence", "link"]) {
  store.on(kind, () => {
    told.add(kind);
    frame ||= requestAnimationFrame(draw);
  });
}

function draw() {
  frame = 0;
  const what = new Set(told);
  told.clear();
  shell.update(what);
  shown?.handle.update?.(what);
}

addEventListener("hashchange", route);
route();
