// One model: how it is, what its loop does, what it learned from; each of its sides in a tab.

import { get, load, part, Problem } from "../parts/api.js";
import { empty, h, keep, put, set } from "../parts/dom.js";
import { modelHash } from "../parts/go.js";
import { allow, seldom } from "../parts/section.js";
import { header } from "./model-header.js";

const MOST = 1_000; // facts and points that wait while nothing is drawn (a tab in the background)
const TABS = [
  ["", "Loop", () => import("./model-loop.js")],
  ["features", "Features", () => import("./model-features.js")],
  ["evidence", "Evidence", () => import("./model-evidence.js")],
  ["versions", "Versions", () => import("./versions.js")],
  ["spec", "Spec", () => import("./model-spec.js")],
  ["runs", "Runs", () => import("./model-runs.js")],
];

export const title = (params) => `${params.parts[0] ?? "Model"}${params.parts[1] ? ` ${params.parts[1]}` : ""}`;
export const stream = (params) => ({ events: 1, model: params.parts[0] ?? "" });

// A tab is a module with `tab(its) -> { element, model?(model), said?(facts), evidence?(points), route?(params), leave() }`;
// `its` is { name, store, params, model: the newest answer or null }.
export function page(root, params, store) {
  const name = params.parts[0] ?? "";
  const its = { name, store, params, model: null };
  const top = header(its);
  const tabs = h("ul.tabs");
  const place = h("div.tab-place");
  const nav = h("nav.tabs-nav", { "aria-label": `Sides of ${name}` }, tabs);
  root.append(top.element, nav, place);
  const page = { its, top, nav, tabs, place, shown: null, turn: 0, facts: [], points: [], off: [] };
  const asked = load(
    store,
    (signal) => get(`/api/models/${part(name)}`, { signal }),
    (model) => show(page, model),
    (problem) => fail(page, problem),
    { every: 15 },
  );
  const again = seldom(asked.again, 1);
  page.again = again;
  page.off.push(
    store.on("said", (facts) => {
      const own = facts.filter((fact) => fact.model === name);
      page.facts = [...page.facts, ...own].slice(-MOST);
      if (own.length) again();
    }),
    store.on("evidence", (point) => {
      if (point.model === name) page.points = [...page.points, point].slice(-MOST);
    }),
    asked.stop,
    again.stop,
  );
  allow(root, store);
  page.allow = () => allow(root, store);
  open(page, params);
  return { update: (what) => update(page, what), route: (next) => open(page, next), leave: () => leave(page) };
}

function show(page, model) {
  page.its.model = model;
  if (page.missing) {
    page.missing = page.nav.hidden = false;
    open(page, page.its.params);
  }
  page.top.model(model);
  page.shown?.handle.model?.(model);
}

function fail(page, problem) {
  if (problem instanceof Problem && problem.status === 404) {
    page.missing = true;
    page.turn += 1;
    page.shown?.handle.leave();
    page.shown = null;
    page.nav.hidden = true;
    page.place.replaceChildren(empty("No such model", problem.detail, `driftloop spec apply ${page.its.name}.toml`));
  }
  page.top.fail(problem);
}

async function open(page, params) {
  page.its.params = params;
  if (page.missing) return;
  const chosen = params.parts[1] ?? "";
  const [key, text, module] = TABS.find(([its]) => its === chosen) ?? TABS[0];
  keep(
    page.tabs,
    TABS,
    ([its]) => its || "loop",
    ([its, word]) => h("li", null, h("a", { href: modelHash(page.its.name, its) }, word)),
    (li, [its]) => {
      set(li.firstChild, "aria-current", its === key ? "page" : null);
    },
  );
  if (page.shown?.key === key) {
    page.shown.handle.route?.(params);
    return;
  }
  const mine = (page.turn += 1);
  const { tab } = await module();
  if (mine !== page.turn) return;
  page.shown?.handle.leave();
  page.facts = [];
  page.points = [];
  const handle = tab(page.its);
  page.shown = { key, handle };
  page.place.replaceChildren(handle.element);
  set(page.place, "aria-label", text);
  if (page.its.model) handle.model?.(page.its.model);
}

// What a card has in common with the whole answer: where they differ, the answer is old.
const state = ({ champion, run, waiting, paused }) => JSON.stringify([champion, run?.id, run?.stage, waiting, paused]);

function update(page, what) {
  if (what.has("hello")) page.allow();
  const card = page.its.store.cards.get(page.its.name);
  if (what.has("cards") || what.has("hello")) page.top.card(card);
  if (card && page.its.model && state(card) !== state(page.its.model.card)) page.again();
  const { handle } = page.shown ?? {};
  if (page.facts.length) handle?.said?.(page.facts.splice(0));
  if (page.points.length) handle?.evidence?.(page.points.splice(0));
}

function leave(page) {
  page.turn += 1;
  for (const off of page.off) off();
  page.shown?.handle.leave();
  page.top.leave();
  put(page.place, "");
}
