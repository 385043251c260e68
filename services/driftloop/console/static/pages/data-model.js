// Data quality of one model: each sum of the audit, its quarantine with examples, its label delay.

import { button } from "../parts/actions.js";
import { get } from "../parts/api.js";
import { badge, empty, h, icon, put } from "../parts/dom.js";
import { count, duration, many, moment, span } from "../parts/format.js";
import { section, table } from "../parts/section.js";

const EXAMPLES = 30;

export function oneModel(store, name) {
  const sums = h("div.section-body");
  const delay = h("div.section-body");
  const reasons = h("div.section-body");
  const own = { store, name, reason: "", again: () => examples.again() };
  const examples = section(store, {
    title: "Examples",
    ask: (signal) => get("/api/data/quarantine", { query: { model: name, reason: own.reason, limit: EXAMPLES }, signal }),
    every: 20,
    show: (body, answer, note) => {
      note(own.reason ? `set aside for: ${own.reason}` : "");
      showExamples(own, body, answer.rows);
    },
  });
  const note = h("p.section-note.quiet");
  const card = (text, inside, beside = null) =>
    h("section.card", { "aria-label": `${text} of ${name}` }, h("header", null, h("h2", null, `${text} of ${name}`), beside), inside);
  const element = h(
    "div.stack",
    null,
    h(
      "div.wide-narrow.even",
      null,
      h("div.stack", null, card("Sums", sums, note), examples.element),
      h("div.stack", null, card("Quarantine", reasons), card("Label delay", delay)),
    ),
  );
  let shown = "";
  return {
    name,
    element,
    again: examples.again,
    stop: examples.stop,
    fail: (problem) => sums.replaceChildren(h("p.gone", { role: "status" }, icon("warn"), h("span", null, problem.message))),
    show(its) {
      put(note, age(its, store) && `added up ${age(its, store)}`);
      const now = JSON.stringify(its);
      if (shown === now) return;
      shown = now;
      sums.replaceChildren(sumTable(its));
      delay.replaceChildren(delayTable(its));
      reasons.replaceChildren(reasonTable(own, its));
    },
  };
}

// How old the sums of a model are: "4 min ago", "" if there are none.
export const age = ({ audited }, store) => (audited ? `${span(store.now() - Date.parse(audited) / 1000)} ago` : "");

function sumTable(its) {
  if (!its.sums.length)
    return empty(
      "Not added up yet",
      "The console adds the sums up by itself; on the command line:",
      `driftloop audit --model ${its.model}`,
    );
  const rows = its.sums.map((sum) => [
    [h("strong", null, sum.name), "nowrap"],
    [count(sum.left), "num"],
    [count(sum.right), "num"],
    h("span", null, parts(sum), sum.note ? h("div.quiet", null, sum.note) : null),
    [difference(sum), "num"],
    [sum.closes ? badge("good", "well", "closes") : badge("bad", "bad", "does not close"), "nowrap"],
  ]);
  return table(["sum", ["left", "num"], ["right", "num"], "has to be", ["difference", "num"], "verdict"], rows, "Sums");
}

function parts(sum) {
  return Object.entries(sum.parts)
    .map(([name, rows]) => `${count(rows)} ${name}`)
    .join(" + ");
}

function difference(sum) {
  const told = [];
  if (sum.missing) told.push(`${count(sum.missing)} missing`);
  if (sum.extra) told.push(`${count(sum.extra)} too many`);
  return told.join(", ") || count(sum.left - sum.right);
}

function delayTable({ delay }) {
  if (!delay) return h("p.quiet", null, "No label has come yet.");
  const rows = [
    ["half of them within", delay.p50],
    ["90 % within", delay.p90],
    ["99 % within", delay.p99],
    ["the slowest", delay.most],
  ];
  const most = Math.max(1, delay.most);
  return h(
    "div",
    null,
    h("p.quiet", null, `From a row to its label by the data's clock, ${many(delay.rows, "labelled row")}`),
    h(
      "ul.delays",
      null,
      rows.map(([text, seconds]) => {
        const bar = h("i");
        bar.style.width = `${Math.max(0.5, (100 * seconds) / most)}%`;
        return h("li", null, h("span", null, text), h("span.delay-ground", null, bar), h("b.num", null, duration(seconds)));
      }),
    ),
  );
}

function reasonTable(own, its) {
  if (!its.quarantined.length) return h("p.quiet", null, "No row was set aside.");
  const rows = [...its.quarantined]
    .sort((a, b) => b.rows - a.rows)
    .map((reason) => [
      h(
        "button.plain-link",
        {
          type: "button",
          "aria-pressed": String(own.reason === reason.reason),
          onclick: (event) => pick(own, reason.reason, event.currentTarget),
        },
        reason.reason,
      ),
      [count(reason.rows), "num"],
      [reason.newest ? moment(reason.newest) : "", "num.quiet"],
      [
        h(
          "span.operate",
          null,
          button("requeue", own.name, () => ({ containing: reason.reason, rows: reason.rows, hello: own.store.hello })),
        ),
        "num",
      ],
    ]);
  return table(["reason", ["rows", "num"], ["newest", "num"], h("span.unseen", null, "replay")], rows, "Reasons");
}

function pick(own, reason, button) {
  own.reason = own.reason === reason ? "" : reason;
  for (const other of button.closest("table").querySelectorAll("[aria-pressed]"))
    other.setAttribute("aria-pressed", String(other === button && own.reason !== ""));
  own.again();
}

function showExamples(own, body, rows) {
  const now = JSON.stringify(rows);
  if (own.shown === now) return;
  own.shown = now;
  if (!rows.length) {
    body.replaceChildren(h("p.quiet", null, own.reason ? "No row is set aside for that now." : "No row in quarantine."));
    return;
  }
  const open = new Set([...body.querySelectorAll("details[open]")].map((its) => its.dataset.seq));
  body.replaceChildren(
    h(
      "div.folds",
      null,
      rows.map((row) => {
        const key = `${row.seq}:${row.event_id}`;
        const values = Object.entries(row.row).map(([name, value]) =>
          h("div", null, h("dt", null, name), h("dd", null, value === null ? h("span.quiet", null, "missing") : String(value))),
        );
        return h(
          "details.fold",
          { data: { seq: key }, open: open.has(key) },
          h(
            "summary.row",
            null,
            h("span.mono", null, row.event_id),
            h("span.clip.fold-text", { data: { tone: "warn" } }, row.text || row.reason),
            h("span.quiet.push", null, moment(row.time)),
          ),
          h("dl.values", null, values),
        );
      }),
    ),
  );
}
