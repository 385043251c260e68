// The columns of the event list.

import { h, put, set } from "../parts/dom.js";
import { instant } from "../parts/format.js";
import { modelHash, runHash, to } from "../parts/go.js";
import { kindBadge, showKind } from "../parts/kinds.js";

const link = (cell) => cell.append(h("a", { tabindex: -1 }));

function showLink(cell, text, href) {
  put(cell.firstChild, text);
  set(cell.firstChild, "href", text ? href : null);
  set(cell.firstChild, "title", text || null);
  cell.firstChild.hidden = !text;
}

// Runs are called "run-..." by who starts them; other correlations have no page. An alarm has the id of the run
// that may come of it: the list does not know whether one did, and shows the events of that id instead.
const MAYBE = new Set(["drift.detected", "performance.degraded", "labels.shifted", "trigger.declined"]);

export const isRun = (correlation) => correlation.startsWith("run-");
export const maybeRun = (fact) => isRun(fact.correlation) && MAYBE.has(fact.kind);

function runLink(fact) {
  if (!isRun(fact.correlation)) return null;
  return maybeRun(fact) ? to("events", { correlation: fact.correlation }) : runHash(fact.correlation);
}

export function columns() {
  return [
    {
      key: "time", name: "Time",
      show: (cell, fact) => {
        put(cell, instant(fact.time));
        set(cell, "title", `${fact.time}, number ${fact.seq} of the log`);
      },
    },
    { key: "kind", name: "Type", create: (cell) => cell.append(kindBadge("")), show: (cell, fact) => showKind(cell.firstChild, fact.kind) },
    { key: "model", name: "Model", create: link, show: (cell, fact) => showLink(cell, fact.model, modelHash(fact.model)) },
    { key: "service", name: "Service", show: (cell, fact) => put(cell, fact.service) },
    {
      key: "run", name: "Run", create: link,
      show: (cell, fact) => showLink(cell, fact.correlation, runLink(fact)),
    },
    {
      key: "text", name: "What was said",
      show: (cell, fact) => {
        put(cell, fact.text);
        set(cell, "title", fact.text);
      },
    },
  ];
}
