// The spec of a model as it is, and every revision with what it changed and who said so.

import { button } from "../parts/actions.js";
import { get, part } from "../parts/api.js";
import { empty, h, icon } from "../parts/dom.js";
import { many, moment } from "../parts/format.js";
import { section, seldom } from "../parts/section.js";

export function tab(its) {
  const now = section(its.store, {
    title: "Spec",
    tools: [
      h(
        "span.operate",
        null,
        button("spec", its.name, () => ({ hello: its.store.hello })),
      ),
    ],
    ask: (signal) => get(`/api/models/${part(its.name)}/spec`, { signal }),
    show: (body, answer, note) => {
      note(`revision ${answer.revision}`);
      body.replaceChildren(toml(answer.text));
    },
    every: 60,
  });
  const past = section(its.store, {
    title: "History",
    ask: (signal) => get(`/api/models/${part(its.name)}/spec/history`, { signal }),
    show: showHistory,
    every: 60,
  });
  const again = seldom(() => {
    now.again();
    past.again();
  }, 1);
  return {
    element: h("div.spec-two", null, now.element, past.element),
    said: (facts) => facts.some((fact) => fact.kind === "spec.registered") && again(),
    leave() {
      again.stop();
      now.stop();
      past.stop();
    },
  };
}

const LINE = /^(\s*)(?:(#.*)|(\[\[?[^\]]+\]\]?)(.*)|([\w."-]+)(\s*=\s*)(.*))$/;

// TOML with its tables, keys and comments told apart; text nodes only.
function toml(text) {
  const lines = text
    .replace(/\n$/, "")
    .split("\n")
    .map((line) => {
      const found = LINE.exec(line);
      if (!found) return h("span.line", null, line);
      const [, indent, comment, table, rest, key, equals, value] = found;
      if (comment) return h("span.line", null, indent, h("span.toml-comment", null, comment));
      if (table) return h("span.line", null, indent, h("span.toml-table", null, table), rest);
      return h("span.line", null, indent, h("span.toml-key", null, key), equals, value);
    });
  return h(
    "pre.code",
    { tabindex: 0, "aria-label": "Spec as TOML" },
    h(
      "code",
      null,
      lines.flatMap((line) => [line, "\n"]),
    ),
  );
}

function diffLines(lines) {
  const kind = (line) => (/^(\+\+\+|---|@@)/.test(line) ? "at" : line[0] === "+" ? "plus" : line[0] === "-" ? "minus" : "same");
  return h(
    "pre.code.diff",
    { tabindex: 0, "aria-label": "Changes" },
    h(
      "code",
      null,
      lines.flatMap((line) => [h("span.line", { data: { diff: kind(line) } }, line), "\n"]),
    ),
  );
}

function showHistory(body, answer, note) {
  note(many(answer.revisions.length, "revision") + (answer.lost ? `, ${answer.lost} older are kept no more` : ""));
  if (!answer.revisions.length) {
    body.replaceChildren(empty("No revision is kept", ""));
    return;
  }
  const open = new Set([...body.querySelectorAll("details[open]")].map((its) => its.dataset.revision));
  const known = new Set([...body.querySelectorAll("details")].map((its) => its.dataset.revision));
  body.replaceChildren(
    ...answer.revisions.map((its, at) => {
      const summary = h(
        "summary.row",
        null,
        icon("right"),
        h("strong", null, `Revision ${its.revision}`),
        h("span.quiet", null, `${moment(its.time)} by ${its.by}${its.reason ? `: ${its.reason}` : ""}`),
      );
      const inside = its.diff.length ? diffLines(its.diff) : toml(its.text);
      return h(
        "details.revision",
        { data: { revision: its.revision }, open: open.has(String(its.revision)) || (at === 0 && !known.has(String(its.revision))) },
        summary,
        inside,
      );
    }),
  );
}
