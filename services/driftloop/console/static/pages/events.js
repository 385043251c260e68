// Events: what the services say, as it comes and back in time; each with its cause and its effects.

import { get, load } from "../parts/api.js";
import { badge, empty, h, icon, put, rebadge } from "../parts/dom.js";
import { count, many } from "../parts/format.js";
import { go, to } from "../parts/go.js";
import { listen } from "../parts/keys.js";
import { List } from "../parts/table.js";
import { columns } from "./event-columns.js";
import { any, filters, fits, read, same } from "./event-filters.js";
import { createPanel } from "./event-panel.js";
import { createRate } from "./event-rate.js";
import { createRing } from "./event-ring.js";

const MOST = 5_000; // events that the page keeps; older ones are asked for again
const GROUP = 200; // events that are asked for at a time
const NEAR = 800; // pixels from the end of the list at which older ones are asked for
const DRAW_MS = 250; // more often than this nobody can read

export const title = () => "Events";
export const key = () => "events"; // whichever event the panel shows
export const stream = (params, store) => {
  const model = params.query.get("model");
  return { events: 1, model: store.cards.has(model) ? model : "", kind: params.query.get("kind") };
};

export function page(root, params, store) {
  const own = {
    store, ring: createRing(MOST), rate: createRate(), wanted: read(params.query), paused: false,
    missed: 0, refused: "", loaded: false, early: null, first: null, older: null, timer: 0, drawn: 0,
  };
  build(own, root);
  own.off = [
    store.on("said", (facts) => hear(own, facts)),
    store.on("missed", (number) => {
      own.missed += number;
      own.ring.tear();
    }),
    store.on("hello", () => (own.loaded ? join(own) : begin(own))),
    listen({ p: () => pause(own, !own.paused), Escape: () => choose(own, null) }),
  ];
  const beat = setInterval(() => status(own), 1000);
  own.filters.show(own.wanted);
  showPanel(own, params.parts[0] ?? null);
  begin(own);
  return {
    update: (what) => what.has("link") && status(own),
    route: (next) => route(own, next),
    leave() {
      clearInterval(beat);
      leave(own);
    },
  };
}

function build(own, root) {
  own.list = new List(columns(), {
    label: "Events, newest first", key: (fact) => fact.seq, open: (fact) => choose(own, fact.id), none: () => none(own),
  });
  own.list.onScroll(() => {
    if (own.ring.held !== (own.paused || own.list.above > 0)) hold(own);
    if (own.list.below < NEAR) back(own);
  });
  own.panel = createPanel(own.store, {
    close: () => choose(own, null),
    hash: (id) => to(`events/${encodeURIComponent(id)}`, own.wanted),
  });
  own.filters = filters({
    typed: (next) => { if (!same(next, own.wanted)) go(to(own.panel.id ? `events/${encodeURIComponent(own.panel.id)}` : "events", next)); },
    clear: () => go("#/events"),
  });
  own.button = h("button.button.push", { type: "button", "aria-pressed": "false", onclick: () => pause(own, !own.paused) }, icon("pause"), h("span", null, "Pause"));
  own.live = badge("quiet", "wait", "");
  own.speed = h("span.quiet");
  own.newer = h("button.newer", { type: "button", hidden: true, onclick: () => pause(own, false) });
  own.list.element.append(own.newer);
  own.split = h("div.split", null, own.list.element);
  root.append(h("header.row.events-head", null, h("h1", null, "Events"), own.live, own.speed, own.button), own.filters.element, own.split);
}

function leave(own) {
  for (const off of own.off) off();
  clearTimeout(own.timer);
  own.older?.abort();
  own.first?.stop();
  own.filters.leave();
  own.panel.leave();
  own.list.leave();
}

function route(own, params) {
  const next = read(params.query);
  if (!same(next, own.wanted)) {
    own.wanted = next;
    own.filters.show(next);
    own.older?.abort();
    own.list.toTop();
    hold(own);
    begin(own);
  }
  showPanel(own, params.parts[0] ?? null);
}

// What comes.

function hear(own, facts) {
  own.rate.add(facts.length);
  const wanted = facts.filter((fact) => fits(fact, own.wanted));
  if (own.early) own.early.push(...wanted);
  else own.ring.add(wanted);
  plan(own);
}

// The newest that fit, from the server; what comes meanwhile is put on top.
function begin(own) {
  own.early = null;
  own.first?.stop();
  own.ring.clear();
  own.loaded = false;
  own.refused = "";
  const query = { ...own.wanted, limit: GROUP };
  own.first = load(own.store, (signal) => get("/api/events", { query, signal }), (answer) => {
    own.loaded = true;
    own.refused = "";
    own.ring.older(answer.events, answer.before);
    plan(own);
  }, (problem) => {
    own.refused = problem.message;
    plan(own);
  });
}

// The stream began anew: first what was said meanwhile, as far as one answer holds it, then what came.
function join(own) {
  const { wanted } = own;
  const early = (own.early = []);
  const go = (told) => {
    if (early !== own.early) return;
    own.early = null;
    if (wanted === own.wanted) told();
    own.ring.add(early.filter((fact) => fits(fact, own.wanted)));
    plan(own);
  };
  get("/api/events", { query: { ...wanted, limit: GROUP } }).then((answer) => go(() => {
    const { newest } = own.ring;
    if (answer.before && answer.events.every((fact) => fact.seq > newest)) own.ring.tear();
    own.ring.add(answer.events.toReversed());
  }), () => go(() => own.ring.tear()));
}

// Back in time.
function back(own) {
  if (!own.ring.before || own.older || !own.loaded) return;
  own.older = new AbortController();
  get("/api/events", { query: { ...own.wanted, before: own.ring.before, limit: GROUP }, signal: own.older.signal })
    .then((answer) => {
      own.ring.older(answer.events, answer.before);
      plan(own);
    }, (problem) => {
      if (problem.name !== "AbortError") put(own.speed, problem.message);
    })
    .finally(() => { own.older = null; });
}

// What somebody does.

function hold(own) {
  own.ring.held = own.paused || own.list.above > 0;
  if (own.ring.cut && !own.ring.held) begin(own);
  plan(own);
}

function pause(own, on) {
  own.paused = on;
  own.button.setAttribute("aria-pressed", String(on));
  put(own.button.lastChild, on ? "Go on" : "Pause");
  if (!on) own.list.toTop();
  hold(own);
}

// False where that one is chosen already: keys are left to others then.
function choose(own, id) {
  if (id === own.panel.id) return false;
  go(to(id ? `events/${encodeURIComponent(id)}` : "events", own.wanted));
  return true;
}

function showPanel(own, id) {
  const shown = own.panel.element.isConnected;
  if (id && !shown) own.split.append(own.panel.element);
  if (!id && shown) {
    own.panel.element.remove();
    own.list.focus();
  }
  own.panel.show(id, id && own.ring.find(id));
  reveal(own);
}

const reveal = (own) => own.list.reveal((own.panel.id && own.ring.find(own.panel.id)?.seq) ?? null);

// What is seen.

function plan(own) {
  own.timer ||= setTimeout(() => requestAnimationFrame(() => draw(own)), Math.max(0, DRAW_MS - (performance.now() - own.drawn)));
}

function draw(own) {
  own.timer = 0;
  own.drawn = performance.now();
  own.filters.suggest(own.ring, own.store);
  own.list.show(own.ring.shown());
  if (own.panel.id) reveal(own);
  own.newer.hidden = own.ring.waiting === 0;
  put(own.newer, `${many(own.ring.waiting, "newer event")} \u2013 show`);
  status(own);
}

function status(own) {
  const { live, ring, paused, missed } = own;
  if (own.store.link.state !== "live") rebadge(live, "quiet", "wait", "waiting for the console");
  else if (ring.held) rebadge(live, "warn", "pause", `${paused ? "paused" : "held while you scroll"}, ${count(ring.waiting)} waiting`);
  else rebadge(live, "quiet", "play", "live");
  const dropped = missed ? `; ${many(missed, "event")} passed too fast for this page, scroll down to read them` : "";
  put(own.speed, `${count(own.rate.now())} a second${dropped}`);
}

function none(own) {
  if (own.refused) return empty("Nothing to show", own.refused);
  if (!own.loaded) return empty("Loading");
  if (!any(own.wanted)) return empty("No event fits", "Events that fit will appear here as they come.");
  return empty("Nothing has happened yet", "Services say here what they do: register a model and send it rows.",
    "driftloop spec apply FILE.toml");
}
