// Whether every row and label is found again: accounting, quarantine, label delay and dead letters.

import { get, load } from "../parts/api.js";
import { badge, empty, h, set } from "../parts/dom.js";
import { count, duration, many, moment } from "../parts/format.js";
import { to } from "../parts/go.js";
import { allow, section, seldom, table } from "../parts/section.js";
import { deadLetters } from "./data-dead.js";
import { age, oneModel } from "./data-model.js";

const SHOWN = 100;

export const title = () => "Data";
export const stream = () => ({ events: 1 });

export function page(root, params, store) {
  const own = {
    store,
    params,
    search: "",
    answer: null,
    body: null,
    one: null,
    asked: null,
    below: h("div.stack"),
    figures: h("dl.figures"),
  };
  const field = h("input", { type: "search", placeholder: "Find a model", oninput: () => find(own, field.value) });
  const tools = [h("label.field.bare", null, h("span", null, "Find a model"), field)];
  const list = section(store, {
    title: "Accounting by model",
    tools,
    ask: (signal) => get("/api/data", { signal }),
    every: 10,
    show: (body, answer) => show(own, body, answer),
  });
  const dead = deadLetters(store);
  root.append(h("div.model-head", null, h("h1", null, "Data"), own.figures), list.element, own.below, dead.element);
  const again = seldom(() => {
    list.again();
    own.asked?.again();
    own.one?.again();
    dead.again();
  }, 2);
  const off = store.on("said", (facts) => facts.some((fact) => /^(letter|operator)\./.test(fact.kind)) && again());
  allow(root, store);
  return {
    update: (what) => what.has("hello") && allow(root, store),
    route(next) {
      own.params = next;
      if (own.answer) choose(own);
    },
    leave() {
      off();
      again.stop();
      list.stop();
      forget(own);
      dead.stop();
    },
  };
}

function find(own, text) {
  own.search = text.trim().toLowerCase();
  if (own.answer) draw(own);
}

const quarantined = (its) => its.quarantined.reduce((sum, reason) => sum + reason.rows, 0);
const trouble = (its) => (its.closes === false ? 4 : 0) + (its.dead ? 2 : 0) + (its.quarantined && quarantined(its) ? 1 : 0);
const inOrder = (all) => all.sort((a, b) => trouble(b) - trouble(a) || a.model.localeCompare(b.model));
const CLOSES = { closed: true, open: false };

// Every model: in full as the API gives it, or, beyond its first hundred, as its card has it.
function models({ answer, store }) {
  const known = new Set(answer.models.map((its) => its.model));
  const others = [...store.cards.values()].filter((card) => !known.has(card.name));
  return [...answer.models, ...others.map((card) => ({ model: card.name, closes: CLOSES[card.accounting] ?? null, card }))];
}

function show(own, body, answer) {
  own.answer = answer;
  own.body = body;
  draw(own);
  choose(own);
  const all = models(own);
  const open = all.filter((its) => its.closes === false).length;
  const figure = (name, value, note, tone) =>
    h("div.figure", null, h("dt", null, name), h("dd", { data: { tone } }, value), h("dd.quiet", null, note));
  own.figures.replaceChildren(
    figure("Sums that do not close", many(open, "model"), `of ${many(all.length, "model")}`, open ? "bad" : "good"),
    figure(
      "In quarantine",
      count(answer.models.reduce((sum, its) => sum + quarantined(its), 0)),
      answer.models.length < all.length ? `rows, of the first ${answer.models.length} models` : "rows, of all models",
      "plain",
    ),
    figure("Dead letters", count(answer.dead), "messages no service could use", answer.dead ? "warn" : "good"),
  );
}

function draw(own) {
  const { body, search } = own;
  const all = models(own);
  if (!all.length) {
    body.replaceChildren(empty("No model yet", "Register one:", "driftloop spec apply FILE"));
    return;
  }
  const found = inOrder(all.filter((its) => its.model.toLowerCase().includes(search)));
  const focused = body.contains(document.activeElement) ? document.activeElement.dataset.model : "";
  const head = [
    "model",
    "accounting",
    "what does not close",
    ["quarantined", "num"],
    ["dead letters", "num"],
    ["label delay p50", "num"],
    ["p90", "num"],
    ["p99", "num"],
    ["added up", "num"],
  ];
  body.replaceChildren(
    h(
      "div.scroll",
      { tabindex: 0, role: "region", "aria-label": "Table of models" },
      table(head, found.slice(0, SHOWN).map((its) => row(its, own.store)), "Accounting by model"),
    ),
    found.length > SHOWN ? h("p.quiet", null, `${count(found.length - SHOWN)} more: find them by name.`) : "",
    found.length ? "" : h("p.quiet", null, "No model has that in its name."),
  );
  if (focused) body.querySelector(`[data-model="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  mark(own);
}

function closes(its) {
  if (its.closes === null) return badge("quiet", "none", "not added up");
  return its.closes ? badge("good", "well", "closes") : badge("bad", "bad", "open");
}

function row(its, store) {
  const link = h("a", { href: to("data", { model: its.model }), data: { model: its.model } }, its.model);
  const state = [closes(its), "nowrap"];
  if (its.card) return [link, state, its.card.missing ? `${count(its.card.missing)} rows missing` : "", ...Array(6).fill("")];
  const broken = its.sums.filter((sum) => !sum.closes);
  const what = broken.map((sum) => `${sum.name}: ${count(sum.left)} against ${count(sum.right)}`).join("; ");
  const delay = (key) => [its.delay ? duration(its.delay[key]) : "", "num"];
  return [
    link,
    state,
    what || (its.closes ? h("span.quiet", null, many(its.sums.length, "sum closes", "sums close")) : ""),
    [count(quarantined(its)), "num"],
    [count(its.dead), "num"],
    delay("p50"),
    delay("p90"),
    delay("p99"),
    [h("span", { title: its.audited ? moment(its.audited) : null }, age(its, store) || "never"), "num.quiet"],
  ];
}

// The model that was asked for, by default the one in most trouble.
const chosen = (own) => own.params.query.get("model") || (inOrder(models(own))[0]?.model ?? "");

function mark(own) {
  const name = chosen(own);
  for (const link of own.body.querySelectorAll("a[data-model]")) {
    link.closest("tr").classList.toggle("chosen", link.dataset.model === name);
    set(link, "aria-current", link.dataset.model === name ? "true" : null);
  }
}

function forget(own) {
  own.one?.stop();
  own.asked?.stop();
  own.one = own.asked = null;
}

// One model in full below the list; what the list does not hold is asked for by name.
function choose(own) {
  const name = chosen(own);
  mark(own);
  if (own.one?.name !== name) {
    forget(own);
    own.one = name ? oneModel(own.store, name) : null;
    own.below.replaceChildren(...(own.one ? [own.one.element] : []));
  }
  if (!own.one) return;
  const its = own.answer.models.find((model) => model.model === name);
  if (its) own.one.show(its);
  else
    own.asked ??= load(
      own.store,
      (signal) => get("/api/data", { query: { model: name }, signal }),
      ({ models: [found] }) => own.one?.show(found),
      own.one.fail,
      { every: 10 },
    );
}
