// The versions of a model: all in a table, one in full, or any two side by side.

import { get, part } from "../parts/api.js";
import { badge, empty, h } from "../parts/dom.js";
import { bytes, count, duration, number, words } from "../parts/format.js";
import { go } from "../parts/go.js";
import { section, seldom, table } from "../parts/section.js";
import { estimatorName, stage, versionCard, versionHash, windowName } from "./versions-card.js";
import { versionDiff } from "./versions-diff.js";

const METRICS = 3;

export function tab(its) {
  const own = { its, list: null, chosen: [], below: h("div.stack"), shown: null, answer: null, body: null };
  const compare = h(
    "button.button",
    { type: "button", disabled: true, onclick: () => go(versionHash(its.name, ...own.chosen)) },
    "Compare",
  );
  own.compare = compare;
  const ask = (signal) => get(`/api/models/${part(its.name)}/versions`, { signal });
  own.list = section(its.store, {
    title: "Versions",
    tools: [h("span.quiet", null, "Choose two to compare"), compare],
    ask,
    every: 20,
    show: (body, answer) => show(own, body, answer),
  });
  const again = seldom(own.list.again, 1);
  const element = h("div.stack", null, own.list.element, own.below);
  return {
    element,
    said: again,
    route(params) {
      own.its.params = params;
      if (own.answer) below(own);
    },
    leave() {
      again.stop();
      own.list.stop();
      own.shown?.stop();
    },
  };
}

function show(own, body, answer) {
  const now = JSON.stringify(answer);
  if (own.now !== now) {
    own.now = now;
    own.answer = answer;
    own.body = body;
    if (!answer.versions.length) {
      body.replaceChildren(empty("No version yet", "The first is made when enough labelled rows have come."));
      return;
    }
    body.replaceChildren(list(own, answer));
  }
  below(own);
}

function list(own, { versions }) {
  const names = [...new Set(versions.flatMap((version) => Object.keys(version.metrics)))].slice(0, METRICS);
  const head = [
    h("span.unseen", null, "compare"),
    "version",
    "stage",
    "estimator",
    "trained on",
    ["rows", "num"],
    ...names.map((name) => [words(name), "num"]),
    "gates",
    ["training", "num"],
    ["CPU", "num"],
    ["size", "num"],
    "run",
  ];
  const rows = versions.map((its) => [
    choice(own, its.version),
    [h("a", { href: versionHash(own.its.name, its.version), data: { version: its.version } }, `v${its.version}`), "nowrap"],
    [stage(its.stage), "nowrap"],
    h("span", { title: its.estimator.replace(/\s+/g, " ") }, estimatorName(its.estimator)),
    h("span", { title: words(its.window) }, windowName(its.window)),
    [count(its.train_rows), "num"],
    ...names.map((name) => [number(its.metrics[name]), "num"]),
    [gates(its), "nowrap"],
    [duration(its.seconds), "num"],
    [duration(its.cpu_seconds), "num"],
    [bytes(its.bytes), "num"],
    [
      h(
        "a",
        { href: `#/run/${encodeURIComponent(its.run)}`, title: its.run, "aria-label": `Run of version ${its.version}` },
        "run",
      ),
      "nowrap",
    ],
  ]);
  return h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Table of versions" }, table(head, rows, "Versions"));
}

function gates(its) {
  if (!its.gates_failed.length) return badge("quiet", "well", its.stage === "candidate" ? "none failed" : "passed");
  return h(
    "span",
    { title: its.gates_failed.join(", ") },
    badge("warn", "warn", its.gates_failed.length === 1 ? its.gates_failed[0] : `${its.gates_failed.length} failed`),
  );
}

function choice(own, version) {
  const box = h("input", { type: "checkbox", "aria-label": `Compare version ${version}` });
  box.checked = own.chosen.includes(version);
  box.addEventListener("change", () => {
    own.chosen = own.chosen.filter((its) => its !== version);
    if (box.checked) own.chosen.push(version);
    own.chosen = own.chosen.slice(-2);
    for (const other of own.body.querySelectorAll("input[type=checkbox]")) {
      const its = Number(other.closest("tr").querySelector("[data-version]").dataset.version);
      other.checked = own.chosen.includes(its);
    }
    own.chosen.sort((a, b) => a - b);
    own.compare.disabled = own.chosen.length !== 2;
  });
  return box;
}

// One version in full, by default the champion; or two side by side.
function below(own) {
  const { its, answer } = own;
  const asked = its.params.parts
    .slice(2, 4)
    .map(Number)
    .filter((version) => version > 0);
  const first = answer.versions.find((version) => version.stage === "champion") ?? answer.versions[0];
  const wanted = asked.length ? asked : [first.version];
  for (const link of own.body.querySelectorAll("[data-version]")) {
    link.closest("tr").classList.toggle("chosen", wanted.includes(Number(link.dataset.version)));
  }
  const key = wanted.join("/");
  if (own.shown?.key === key) return;
  own.shown?.stop();
  const made = wanted.length === 2 ? versionDiff(its, wanted[0], wanted[1]) : versionCard(its, wanted[0]);
  own.shown = { key, stop: made.stop };
  own.below.replaceChildren(made.element);
}
