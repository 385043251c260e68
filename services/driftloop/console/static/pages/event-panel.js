// One event beside the list: when, by whom, what caused it, what it caused, and as it was sent.

import { get, load, part } from "../parts/api.js";
import { h, icon } from "../parts/dom.js";
import { apart, dataTime, moment } from "../parts/format.js";
import { modelHash, runHash, to } from "../parts/go.js";
import { kindBadge } from "../parts/kinds.js";
import { isRun, maybeRun } from "./event-columns.js";

// { element, id, show(id or null, fact?), leave() }; options: { close: () => {}, hash: (id) => "#/..." }.
// A fact that the list has already is shown at once; its cause and effects when they are found.
export function createPanel(store, { close, hash }) {
  const heading = h("h2", { id: "event-title" });
  const body = h("div.panel-body");
  const element = h("aside.panel", { "aria-labelledby": "event-title", tabindex: 0 },
    h("header.panel-head", null, heading, h("button.tool.push", { type: "button", "aria-label": "Close (Esc)", title: "Close (Esc)", onclick: close }, icon("close"))),
    body);
  let loading = null;
  const draw = (answer, note) => {
    heading.replaceChildren(answer ? kindBadge(answer.fact.kind) : "Event");
    body.replaceChildren(...(note ? [h("p.gone", { role: "status" }, icon("warn"), h("span", null, note))] : []), ...(answer ? show(answer, hash) : []));
  };
  const panel = {
    element,
    id: null,
    show(id, fact) {
      if (id === panel.id) return;
      panel.id = id;
      loading?.stop();
      loading = null;
      if (!id) return;
      element.scrollTop = 0;
      const known = fact && { fact, body: fact.event };
      if (known) draw(known);
      else body.replaceChildren(h("p.quiet", null, "Loading"));
      loading = load(store, (signal) => get(`/api/events/${part(id)}`, { signal }), (answer) => draw(answer), (problem) => draw(known, problem.message));
    },
    leave() {
      loading?.stop();
    },
  };
  return panel;
}

// `cause`, `effects` and `headers` are undefined until they are found.
function show({ fact, cause, effects, headers, body }, hash) {
  return [h("p.said", null, fact.text), facts(fact, body, effects), causes(fact, cause, hash), effected(effects, hash), raw("As it was said", body, true), headers ? raw("Headers", headers, false) : null].filter(Boolean);
}

// The run of an event: of an alarm only once it is known that one came of it.
function runOf(fact, effects) {
  const run = fact.correlation;
  if (!isRun(run)) return run;
  if (!maybeRun(fact) || effects?.some((its) => its.kind === "retrain.requested")) return h("a", { href: runHash(run) }, run);
  if (fact.kind === "trigger.declined") return "none";
  const declined = effects?.find((its) => its.kind === "trigger.declined");
  return effects ? `none came of it${declined ? `: ${declined.event.reason}` : " so far"}` : "";
}

function facts(fact, body, effects) {
  const data = body.data_time ?? 0;
  const run = fact.correlation;
  return h("dl.facts", null,
    pair("Time", moment(fact.time), fact.time),
    data && apart(fact.time, data) ? pair("Time of the data", `${dataTime(data)} UTC`) : null,
    pair("Model", h("a", { href: modelHash(fact.model) }, fact.model)),
    run ? pair("Run", runOf(fact, effects)) : null,
    pair("Said by", fact.service),
    pair("Number in the log", String(fact.seq)),
    pair("Id", h("span.mono", null, fact.id)),
    run ? pair("", h("a", { href: to("events", { correlation: run }) }, isRun(run) && maybeRun(fact) ? "All events with its id" : "All events of this run")) : null);
}

function causes(fact, cause, hash) {
  const none = fact.causation ? `${fact.causation}, which is no event (a message, or one that is kept no more)` : "None: it began by itself.";
  const found = cause === undefined && fact.causation ? h("p", null, h("a.mono", { href: hash(fact.causation) }, fact.causation)) : h("p.quiet", null, none);
  return h("section", { "aria-label": "Cause" }, h("h3", null, "Cause"), cause ? links([cause], hash) : found);
}

function effected(effects, hash) {
  const none = effects ? "None so far." : "Not known yet.";
  return h("section", { "aria-label": "Effects" }, h("h3", null, effects?.length ? `Effects (${effects.length})` : "Effects"), effects?.length ? links(effects, hash) : h("p.quiet", null, none));
}

const pair = (name, value, title) => [h("dt", null, name), h("dd", { title }, value)];

function links(facts, hash) {
  return h("ul.neighbours", null, facts.map((fact) =>
    h("li", null, h("a", { href: hash(fact.id) }, kindBadge(fact.kind), h("span.quiet", null, moment(fact.time)), h("span.clip", null, fact.text)))));
}

function raw(title, value, open) {
  return h("details.raw", { open }, h("summary", null, title), h("pre.json", { tabindex: 0 }, h("code", null, JSON.stringify(value, null, 2))));
}
