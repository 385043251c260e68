// Overview: in five seconds, whether all models are well; the worst first.

import { badge, empty, h, put, rebadge } from "../parts/dom.js";
import { clock, count, many, rate } from "../parts/format.js";
import { modelHash, rewrite } from "../parts/go.js";
import { List } from "../parts/table.js";
import { ORDERS, columns } from "./overview-columns.js";

export const title = () => "Overview";

const HOLD_MS = 3_000; // rows stay where they are while the pointer is on its way to one
const AGES_MS = 20_000;

// What the buttons show; each counts its own.
const SHOWN = new Map([
  ["all", ["All", () => true]],
  ["trouble", ["Need attention", (card) => card.trouble > 0]],
  ["alarms", ["Alarms", (card) => card.alarms.length > 0]],
  ["runs", ["Runs", (card) => card.run !== null]],
  ["approval", ["To approve", (card) => card.waiting > 0]],
  ["paused", ["Paused", (card) => card.paused !== null]],
  ["well", ["Well", (card) => card.trouble === 0]],
]);
const ALWAYS = new Set(["all", "trouble"]); // buttons that stay where they count nothing

export function page(root, params, store) {
  const asked = params.query.get("show");
  const own = {
    store, show: SHOWN.has(asked) ? asked : "all", order: { key: "trouble", down: true },
    names: [], // in the order that is on the screen
    heldUntil: 0, timer: 0,
  };
  build(own, root, params.query.get("search"));
  draw(own);
  return {
    update: (what) => what.has("cards") && draw(own),
    leave() {
      clearTimeout(own.timer);
      own.list.leave();
    },
  };
}

function build(own, root, search) {
  own.word = h("h1.say");
  own.mark = badge("quiet", "wait", "");
  own.mark.classList.add("say-mark");
  own.flow = h("p.flow");
  own.clock = h("time.wall-clock");
  own.find = h("input", {
    type: "search", name: "search", placeholder: "Search  /", autocomplete: "off", spellcheck: "false", value: search,
    oninput: () => again(own),
  });
  own.buttons = new Map([...SHOWN].map(([key, [name]]) =>
    [key, h("button.button", { type: "button", onclick: () => choose(own, key) }, h("span", null, name), h("b"))]));
  own.bar = h("div.row", { role: "search" }, h("div.chosen-by", { role: "group", "aria-label": "Which models" }, [...own.buttons.values()]),
    h("label.field.bare.push", null, h("span", null, "Search models"), own.find));
  own.list = new List(columns(own.store), {
    label: "Models", key: (card) => card.name, href: (card) => modelHash(card.name), none: () => none(own.store),
    sorted: own.order, sort: (key, down) => sort(own, { key, down }),
    row: (element, card) => { element.dataset.state = card.tone; },
  });
  own.list.element.addEventListener("pointermove", () => { own.heldUntil = performance.now() + HOLD_MS; }, { passive: true });
  own.list.element.addEventListener("pointerleave", () => { own.heldUntil = 0; });
  root.append(h("section.summary", { "aria-label": "Summary" }, h("div.say-line", null, own.mark, own.word), own.flow, own.clock), own.bar, own.list.element);
}

function choose(own, key) {
  own.show = key === own.show ? "all" : key;
  again(own);
}

function sort(own, order) {
  own.order = order;
  own.heldUntil = 0;
  draw(own);
}

function again(own) {
  rewrite("", { show: own.show === "all" ? "" : own.show, search: own.find.value.trim() });
  own.heldUntil = 0;
  own.list.toTop();
  draw(own);
}

function draw(own) {
  clearTimeout(own.timer);
  const cards = [...own.store.cards.values()];
  summary(own, cards);
  own.bar.hidden = own.store.ready && !cards.length;
  choices(own, cards);
  const held = performance.now() < own.heldUntil;
  const chosen = select(own, cards).sort(held ? asBefore(own.names) : by(own.order));
  own.names = chosen.map((card) => card.name);
  own.list.show(chosen);
  own.timer = setTimeout(() => (held ? draw(own) : ages(own)), held ? HOLD_MS : AGES_MS);
}

function ages(own) {
  own.list.refresh();
  own.timer = setTimeout(() => ages(own), AGES_MS);
}

function choices(own, cards) {
  own.bar.classList.toggle("plain-search", own.show === "all" && !own.find.value);
  for (const [key, button] of own.buttons) {
    const [, fits] = SHOWN.get(key);
    const number = cards.reduce((sum, card) => sum + fits(card), 0);
    put(button.lastChild, count(number));
    button.setAttribute("aria-pressed", String(key === own.show));
    button.hidden = number === 0 && key !== own.show && !ALWAYS.has(key);
  }
}

function select(own, cards) {
  const [, fits] = SHOWN.get(own.show);
  const asked = own.find.value.toLowerCase().split(/\s+/).filter(Boolean);
  return cards.filter((card) => fits(card) && asked.every((term) => told(card).includes(term)));
}

const told = (card) => `${card.name} ${card.task} ${card.trouble_text} ${card.run?.stage ?? ""} v${card.champion}`.toLowerCase();

// Models that are new come last.
function asBefore(names) {
  const at = new Map(names.map((name, number) => [name, number]));
  const place = (card) => at.get(card.name) ?? names.length;
  return (a, b) => place(a) - place(b);
}

function by({ key, down }) {
  const value = ORDERS[key];
  const turn = down ? -1 : 1;
  return (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === y) return a.name < b.name ? -1 : 1;
    if (x === null) return 1; // what is not known comes last either way
    if (y === null) return -1;
    return x < y ? -turn : turn;
  };
}

function summary(own, cards) {
  const troubled = cards.filter((card) => card.trouble > 0);
  const bad = troubled.filter((card) => card.tone === "bad").length;
  if (!own.store.ready) rebadge(own.mark, "quiet", "wait", "");
  else if (!cards.length) rebadge(own.mark, "quiet", "none", "");
  else if (bad) rebadge(own.mark, "bad", "bad", "");
  else if (troubled.length) rebadge(own.mark, "warn", "warn", "");
  else rebadge(own.mark, "good", "well", "");
  put(own.word, sentence(cards.length, troubled.length, own.store.ready));
  put(own.clock, clock(own.store.now()));
  figures(own.flow, cards.length ? flow(cards, troubled.length, bad) : []);
}

function sentence(all, troubled, ready) {
  if (!ready) return "Connecting";
  if (!all) return "No model yet";
  if (!troubled) return all === 1 ? "The model is well" : `All ${count(all)} models are well`;
  if (all === 1) return "The model needs attention";
  return `${count(troubled)} of ${many(all, "model")} ${troubled === 1 ? "needs" : "need"} attention`;
}

function flow(cards, troubled, bad) {
  const running = cards.filter((card) => card.run);
  const stages = new Map();
  for (const { run } of running) stages.set(run.stage, (stages.get(run.stage) ?? 0) + 1);
  const split = [...stages].map(([stage, number]) => `${count(number)} ${stage}`).join(", ");
  return [
    ["well", count(cards.length - troubled)],
    ["in trouble", count(bad)],
    ["to look at", count(troubled - bad)],
    [running.length === 1 ? "run in progress" : "runs in progress", count(running.length), split && `: ${split}`],
    ["rows/s", rate(cards.reduce((sum, card) => sum + card.rate, 0))],
  ];
}

function figures(place, told) {
  while (place.children.length > told.length) place.lastChild.remove();
  told.forEach(([name, value, more = ""], at) => {
    const its = place.children[at] ?? place.appendChild(h("span.flow-part", null, h("b"), " ", h("span"), h("span")));
    put(its.children[0], value);
    put(its.children[1], name);
    put(its.children[2], more);
  });
}

function none(store) {
  if (!store.ready) return empty("Connecting");
  if (store.cards.size) return empty("No model fits", "Change the search, or show all models.");
  return empty("Begin with your data", "Write a first spec from a file of it, and register the model:",
    "driftloop spec infer FILE.csv --target COLUMN", "driftloop spec apply FILE.toml");
}
