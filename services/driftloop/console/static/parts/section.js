// A card that asks for what it shows: says that it loads, what is gone, and recovers by itself.

import { mayOperate } from "./actions.js";
import { load } from "./api.js";
import { h, icon, put } from "./dom.js";
import { clock } from "./format.js";

// section(store, { title, tools, ask: (signal) => promise, show: (body, answer) => {}, every, label })
//   gives { element, body, head, again(), stop() }. `show` fills or changes `body`; while nothing answers, what
//   was shown stays, with the problem above it.
export function section(store, { title, tools = [], ask, show, every = 0, label }) {
  const note = h("p.section-note.quiet");
  const head = h("header", null, title ? h("h2", null, title) : null, note, tools.length ? h("div.row.push", null, tools) : null);
  const said = h("span");
  const gone = h("p.gone", { hidden: true, role: "status" }, icon("warn"), said);
  const body = h("div.section-body", { data: { state: "loading" } }, h("p.loading", { role: "status" }, "Loading"));
  const element = h("section.card", { "aria-label": label ?? title }, title || tools.length ? head : null, gone, body);
  let since = null;
  const it = load(
    store,
    ask,
    (answer) => {
      since = Date.now();
      gone.hidden = true;
      if (body.dataset.state === "loading") {
        body.hidden = false;
        body.replaceChildren();
        body.dataset.state = "shown";
      }
      show(body, answer, (text) => put(note, text));
    },
    (problem) => {
      const shown = since ? ` Shown is what it was at ${clock(since)}.` : "";
      const again = problem.status >= 400 && problem.status < 500 ? "" : " It is asked again by itself.";
      put(said, `${problem.message.replace(/[.\s]*$/, ".")}${shown}${again}`);
      gone.hidden = false;
      if (body.dataset.state === "loading") {
        body.hidden = true;
        body.replaceChildren();
      }
    },
    { every },
  );
  return { element, body, head, note: (text) => put(note, text), again: it.again, stop: it.stop };
}

// What carries the class `operate` is shown to those who may operate (css/pages.css).
export const allow = (root, store) => root.toggleAttribute("data-may", mayOperate(store.hello));

// Calls `deed` soon, and at most once in `seconds`, however often it is asked for; stop() forgets it.
export function seldom(deed, seconds) {
  let timer = 0;
  let last = 0;
  const ask = () => {
    timer ||= setTimeout(
      () => {
        timer = 0;
        last = Date.now();
        deed();
      },
      Math.max(150, last + seconds * 1000 - Date.now()),
    );
  };
  ask.stop = () => clearTimeout(timer);
  return ask;
}

// A table of a fixed head: table(["version", ["rows", "num"]], rows of cells); a cell is text, a node, or [node, class].
export function table(head, rows, label) {
  const cell = (tag, what) => {
    const [inside, kind] = Array.isArray(what) ? what : [what, ""];
    return h(`${tag}${kind ? `.${kind}` : ""}`, tag === "th" ? { scope: "col" } : null, inside);
  };
  return h(
    "table.table",
    { "aria-label": label },
    h(
      "thead",
      null,
      h(
        "tr",
        null,
        head.map((what) => cell("th", what)),
      ),
    ),
    h(
      "tbody",
      null,
      rows.map((row) =>
        h(
          "tr",
          null,
          row.map((what) => cell("td", what)),
        ),
      ),
    ),
  );
}

// Names and values: facts([["rows", "30,000"], ...]); what has no value is left out.
export const facts = (pairs) =>
  h(
    "dl.facts",
    null,
    pairs
      .filter(([, value]) => value !== "" && value !== null && value !== undefined)
      .flatMap(([name, value]) => [h("dt", null, name), h("dd", null, value)]),
  );
