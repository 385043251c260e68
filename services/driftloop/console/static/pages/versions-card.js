// One version in full: where it comes from, what it was judged by, what it is made of, what it cost.

import { button } from "../parts/actions.js";
import { get, part } from "../parts/api.js";
import { badge, h } from "../parts/dom.js";
import { bytes, count, dataTime, duration, loss, many, moment, number, words } from "../parts/format.js";
import { eventHash, modelHash, runHash } from "../parts/go.js";
import { facts, section, table } from "../parts/section.js";

const STAGES = {
  champion: ["good", "well"],
  challenger: ["accent", "run"],
  candidate: ["accent", "wait"],
  retired: ["quiet", "none"],
  rejected: ["warn", "none"],
};
export const versionHash = (model, ...versions) => `${modelHash(model, "versions")}/${versions.join("/")}`;

export function stage(name) {
  return badge(...(STAGES[name] ?? ["quiet", "none"]), words(name));
}

export function versionCard(its, version) {
  const ask = (signal) => get(`/api/models/${part(its.name)}/versions/${version}`, { signal });
  let shown = "";
  const card = section(its.store, {
    title: `Version ${version}`,
    tools: [
      h(
        "span.row.operate",
        null,
        ["challenge", "promote"].map((name) => button(name, its.name, () => options(its, version))),
      ),
    ],
    ask,
    every: 30,
    show(body, answer) {
      const now = JSON.stringify(answer);
      card.head.querySelector(".operate").hidden = answer.short.stage === "champion";
      if (shown !== now) show(its, body, answer);
      shown = now;
    },
  });
  return { element: card.element, stop: card.stop };
}

const options = ({ store, name, model }, version) => ({
  version,
  hello: store.hello,
  card: store.cards.get(name) ?? model?.card,
});

function show(its, body, answer) {
  const box = (title, ...inside) => h("section.box", { "aria-label": title }, h("h3", null, title), ...inside);
  body.replaceChildren(
    h("p.model-card", null, sentence(answer)),
    h(
      "div.boxes",
      null,
      box("Lineage", lineage(its, answer)),
      box("Training data", data(answer)),
      box("Cost and size", cost(answer)),
      box("Environment", environment(answer)),
    ),
    box("Gates", gates(answer.gates)),
    h(
      "div.boxes.wide",
      null,
      box("Training sets tried", windows(answer.manifest.tried ?? [])),
      box("Metrics on its holdout", metrics(answer)),
    ),
    box("Model", model(answer)),
    box(
      "Events",
      h(
        "p.row",
        null,
        answer.facts.map((id) => h("a", { href: eventHash(id), title: id }, id.split(":")[0])),
      ),
    ),
  );
}

// The class of an estimator, without its parameters; what a training set was called, without why.
export const estimatorName = (text) => text.split("(")[0];
export const windowName = (text) => words(text.split(";")[0]);

const TRIGGERS = {
  bootstrap: "the first labelled rows",
  degraded: "a loss that rose",
  operator: "an operator",
  schedule: "the schedule",
};

function sentence({ short, manifest, trigger, reason, verdict, outcome, live_loss: live, live_rows: rows }) {
  const metric = Object.entries(short.metrics)[0];
  const parts = [
    `The ${estimatorName(short.estimator)} estimator with ${many(manifest.features.length, "feature")}, fitted on ${many(short.train_rows, "row")} (${windowName(short.window)})`,
    trigger ? `because of ${TRIGGERS[trigger] ?? words(trigger)}: ${reason}` : "",
  ];
  const text = `${parts
    .filter(Boolean)
    .join(" ")
    .replace(/[.\s]*$/, "")}.`;
  const judged = metric ? ` ${words(metric[0])} ${number(metric[1])} on ${many(manifest.holdout.rows, "held-out row")}.` : "";
  const lived = live !== null && rows ? ` Mean loss as champion ${loss(live)} on ${many(rows, "labelled row")}.` : "";
  const ended = verdict ? ` Its run ended: ${words(verdict)}${outcome ? `, ${outcome}` : ""}.` : "";
  return text + judged + lived + ended;
}

function lineage(its, answer) {
  const { short } = answer;
  const reigns = answer.reigns.map(([from, until]) => h("div", null, `${moment(from)} to ${until ? moment(until) : "now"}`));
  return facts([
    ["stage", stage(short.stage)],
    ["run", h("a", { href: runHash(short.run) }, short.run)],
    ["trigger", words(answer.trigger)],
    [
      "before it",
      answer.previous
        ? h("a", { href: versionHash(its.name, answer.previous, short.version) }, `v${answer.previous}, compare`)
        : "none: the first",
    ],
    ["trained", answer.trained ? moment(answer.trained) : ""],
    ["champion", reigns.length ? h("div", null, reigns) : "never"],
    ["signed", answer.signed ? badge("good", "well", "by the trainer") : badge("quiet", "none", "no signature")],
    ["spec", `revision ${short.spec_revision}`],
  ]);
}

export const digest = (text) => h("code.digest", { title: text }, text.slice(0, 16), h("span.unseen", null, text.slice(16)));

function range(set) {
  return `${count(set.rows)} rows, ${set.stream} ${count(set.first_seq)} to ${count(set.last_seq)}`;
}

function data({ manifest, train_from: from, train_until: until, manifest_sha256: sum, ...its }) {
  return facts([
    ["training", range(manifest.train)],
    ["happened", its.train_from_time ? `${dataTime(its.train_from_time)} to ${dataTime(its.train_until_time)}` : ""],
    ["stored", from ? `${moment(from)} to ${moment(until)}` : ""],
    ["SHA-256", digest(manifest.train.sha256)],
    ["window", words(manifest.window)],
    ["holdout", range(manifest.holdout)],
    ["SHA-256", digest(manifest.holdout.sha256)],
    ["manifest", digest(sum)],
    ["model file", digest(manifest.model_sha256)],
  ]);
}

export const money = (cost) =>
  cost.money === null ? "" : `${cost.money.toLocaleString("en", { maximumSignificantDigits: 3 })} ${cost.currency}`;

function cost({ manifest, cost: its }) {
  return facts([
    ["training", duration(manifest.seconds)],
    ["CPU", duration(its.cpu_seconds)],
    ["price", money(its) || "no price is set"],
    ["model file", bytes(manifest.model_bytes)],
    ["columns", count(manifest.width)],
  ]);
}

function environment({ manifest }) {
  const pairs = Object.entries(manifest.environment);
  return pairs.length ? facts(pairs) : h("p.quiet", null, "Not written down.");
}

export function passed(gate) {
  return gate.passed ? badge("good", "well", "passed") : badge("bad", "bad", "failed");
}

function gates(all) {
  if (!all.length) return h("p.quiet", null, "Not judged yet.");
  const sorted = [...all].sort((a, b) => a.passed - b.passed);
  const rows = sorted.map((gate) => [
    gate.name,
    [number(gate.value), "num"],
    [number(gate.bound), "num"],
    [passed(gate), "nowrap"],
    h("span.quiet", null, gate.detail ?? ""),
  ]);
  return table(["gate", ["value", "num"], ["bound", "num"], "verdict", "detail"], rows, "Gates");
}

function windows(tried) {
  if (!tried.length) return h("p.quiet", null, "One training set, nothing else was tried.");
  const rows = tried.map((its) => [
    its.chosen ? h("b", null, words(its.name)) : words(its.name),
    [its.rows ? count(its.rows) : "", "num"],
    [its.loss === null || its.loss === undefined ? "" : loss(its.loss), "num"],
    [its.seconds ? duration(its.seconds) : "", "num"],
    its.chosen ? badge("good", "well", "taken") : h("span.quiet", null, its.skipped || its.why || ""),
  ]);
  return table(["set", ["rows", "num"], ["loss", "num"], ["took", "num"], "outcome"], rows, "Training sets tried");
}

function metrics({ short }) {
  const rows = Object.entries(short.metrics).map(([name, value]) => [words(name), [number(value), "num"]]);
  return rows.length ? table(["metric", ["value", "num"]], rows, "Metrics") : h("p.quiet", null, "None.");
}

function model({ manifest }) {
  const types = manifest.feature_types ?? [];
  const tensor = (its) => `${its.name}: ${its.type} [${its.shape.map((size) => (size < 0 ? "any" : size)).join(", ")}]`;
  return facts([
    ["estimator", h("code", null, manifest.estimator.replace(/\s+/g, " "))],
    ["features", manifest.features.map((name, at) => (types[at] ? `${name} (${types[at]})` : name)).join(", ")],
    ["inputs", (manifest.inputs ?? []).map(tensor).join("; ")],
    ["outputs", (manifest.outputs ?? []).map(tensor).join("; ")],
    [
      "operator sets",
      Object.entries(manifest.opset ?? {})
        .map(([name, at]) => `${name || "ai.onnx"} ${at}`)
        .join(", "),
    ],
    ["operators", (manifest.operators ?? []).join(", ")],
  ]);
}
