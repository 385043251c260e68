// Two versions side by side: metrics, gates, data and what else differs.

import { get, part } from "../parts/api.js";
import { h } from "../parts/dom.js";
import { count, many, number, words } from "../parts/format.js";
import { section, table } from "../parts/section.js";
import { digest, passed } from "./versions-card.js";

const HIGHER_IS_BETTER = /auc|accuracy|precision|recall|f1|r2|mcc/;
const LOWER_IS_BETTER = /loss|brier|error|mae|mse|ece|pinball|deviance/;

export function versionDiff(its, a, b) {
  const ask = (signal) => get(`/api/models/${part(its.name)}/versions/${a}/diff/${b}`, { signal });
  const card = section(its.store, { title: `Version ${a} beside version ${b}`, ask, show });
  return { element: card.element, stop: card.stop };
}

function show(body, answer) {
  const { a, b } = answer;
  const box = (title, ...inside) => h("section.box", { "aria-label": title }, h("h3", null, title), ...inside);
  body.replaceChildren(
    h("div.boxes.wide", null, box("Metrics, each on its own holdout", metrics(answer)), box("Gates", gates(answer))),
    box("Data", data(answer)),
    box("What else differs", fields(answer)),
  );
  body.dataset.pair = `${a}/${b}`;
}

function metrics({ a, b, metrics: all }) {
  const rows = all.map((its) => [words(its.name), [number(its.a), "num"], [number(its.b), "num"], [change(its), "num"]]);
  return table(["metric", [`v${a}`, "num"], [`v${b}`, "num"], ["change", "num"]], rows, "Metrics");
}

function change({ name, a, b }) {
  if (a === null || b === null) return h("span.quiet", null, "in one only");
  const by = b - a;
  if (by === 0) return h("span.quiet", null, "same");
  const good = HIGHER_IS_BETTER.test(name) ? by > 0 : LOWER_IS_BETTER.test(name) ? by < 0 : null;
  return h(
    "span",
    good === null ? null : { data: { tone: good ? "good" : "warn" } },
    `${by > 0 ? "+" : "\u2212"}${number(Math.abs(by))}`,
  );
}

function gates({ a, b, gates: all }) {
  const side = (gate) =>
    gate
      ? h("span.row.tight", null, number(gate.value), h("span.quiet", null, `of ${number(gate.bound)}`), passed(gate))
      : h("span.quiet", null, "not checked");
  return table(
    ["gate", `v${a}`, `v${b}`],
    all.map((its) => [its.name, side(its.a), side(its.b)]),
    "Gates",
  );
}

function data({ a, b, train, holdout }) {
  const set = (its) =>
    h("span", null, `${count(its.rows)} rows, ${count(its.first_seq)} to ${count(its.last_seq)} `, digest(its.sha256));
  const common = (its) => (its.last_seq ? `${count(its.first_seq)} to ${count(its.last_seq)}` : "nothing");
  return table(
    ["range of the log", `v${a}`, `v${b}`, "in common"],
    [
      ["training", set(train.a), set(train.b), common(train)],
      ["holdout", set(holdout.a), set(holdout.b), common(holdout)],
    ],
    "Data",
  );
}

function fields({ a, b, fields: all }) {
  if (!all.length) return h("p.quiet", null, "Nothing.");
  const value = (its) =>
    h("code.value", null, its === null || its === undefined ? "not there" : typeof its === "string" ? its : JSON.stringify(its));
  const rows = all.map((its) => [h("code", null, its.field), value(its.a), value(its.b)]);
  return h(
    "div",
    null,
    h("p.quiet", null, many(all.length, "field")),
    table(["field", `v${a}`, `v${b}`], rows, "Fields that differ"),
  );
}
