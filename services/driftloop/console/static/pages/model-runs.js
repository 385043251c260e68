// The runs of a model: all of them, newest first, and the table that the loop's tab shows too.

import { get } from "../parts/api.js";
import { badge, empty, h } from "../parts/dom.js";
import { count, moment, span, words } from "../parts/format.js";
import { runHash } from "../parts/go.js";
import { section, seldom, table } from "../parts/section.js";

const FIRST = 50;
const VERDICTS = {
  promoted: ["good", "well"],
  rejected: ["warn", "none"],
  rolled_back: ["bad", "bad"],
  failed: ["bad", "bad"],
  superseded: ["quiet", "none"],
};

export function verdict(run) {
  if (!run.verdict) return badge("accent", "run", words(run.stage) || "in progress");
  const [tone, sign] = VERDICTS[run.verdict] ?? ["quiet", "none"];
  return badge(tone, sign, words(run.verdict));
}

export function runsTable(runs, store) {
  if (!runs.length) {
    return empty("No run yet", "The first begins when enough labelled rows have come.");
  }
  const rows = runs.map((run) => [
    [h("a", { href: runHash(run.id) }, `v${run.version}`), "nowrap"],
    [words(run.trigger), "nowrap"],
    [verdict(run), "nowrap"],
    h("span", { title: run.reason }, run.outcome || run.reason),
    [took(run, store), "num"],
    [moment(run.started), "num.quiet"],
  ]);
  return table(["version", "trigger", "verdict", "why", ["took", "num"], ["began", "num"]], rows, "Runs");
}

function took(run, store) {
  const from = Date.parse(run.started) / 1000;
  return span((run.finished ? Date.parse(run.finished) / 1000 : store.now()) - from);
}

export function tab(its) {
  let limit = FIRST;
  const more = h("button", { type: "button", hidden: true }, "Older runs");
  const ask = (signal) => get("/api/runs", { query: { model: its.name, limit }, signal });
  const list = section(its.store, { title: "Runs", ask, every: 15, show });
  function show(body, answer, note) {
    note(`${count(answer.runs.length)}${answer.more ? " newest" : ""}`);
    body.replaceChildren(runsTable(answer.runs, its.store));
    more.hidden = !answer.more;
  }
  more.addEventListener("click", () => {
    limit += 100;
    list.again();
  });
  const again = seldom(list.again, 1);
  list.element.append(more);
  return {
    element: list.element,
    said: again,
    leave() {
      again.stop();
      list.stop();
    },
  };
}
