// Dead letters: messages that a service could not use; each can be looked at, given back or given up.

import { button } from "../parts/actions.js";
import { get } from "../parts/api.js";
import { empty, h, keep } from "../parts/dom.js";
import { bytes, count, many, moment } from "../parts/format.js";
import { facts, section } from "../parts/section.js";

const LIMIT = 100;

export function deadLetters(store) {
  return section(store, {
    title: "Dead letters",
    ask: (signal) => get("/api/data/dead", { query: { limit: LIMIT }, signal }),
    every: 10,
    show: (body, answer, note) => show(store, body, answer, note),
  });
}

function show(store, body, answer, note) {
  note(
    answer.total
      ? `${many(answer.total, "message")}${answer.total > answer.letters.length ? `, the newest ${count(answer.letters.length)} shown` : ""}`
      : "",
  );
  if (!answer.letters.length) {
    body.replaceChildren(empty("No dead letter", "Every message could be used by the service it was for."));
    return;
  }
  if (!body.querySelector(".letters")) body.replaceChildren(h("div.folds.letters"));
  keep(
    body.firstElementChild,
    answer.letters,
    (letter) => letter.seq,
    (letter) => create(store, letter),
  );
}

function create(store, letter) {
  const inside = h("div.letter");
  const details = h(
    "details.fold",
    null,
    h(
      "summary.row",
      null,
      h("span.mono.quiet", null, count(letter.seq)),
      h("strong", null, letter.service),
      h("span", null, letter.model),
      h("span.clip.fold-text", { data: { tone: "warn" }, title: letter.error }, letter.error),
      h("span.quiet.push", null, moment(letter.time)),
    ),
    inside,
  );
  let body = null;
  const orders = () => ({ seq: letter.seq, service: letter.service, hello: store.hello });
  inside.append(
    h("div.row.operate", null, button("dead-replay", letter.model, orders), button("dead-drop", letter.model, orders)),
  );
  details.addEventListener("toggle", () => {
    if (!details.open || body) return;
    body = section(store, {
      label: `Dead letter ${letter.seq}`,
      ask: (signal) => get(`/api/data/dead/${letter.seq}`, { signal }),
      show: showBody,
    });
    inside.append(body.element);
  });
  return details;
}

function showBody(body, { letter, headers, text }) {
  body.replaceChildren(
    facts([
      ["error", letter.error],
      ["original", letter.position],
      ["subject", letter.subject],
      ["size", bytes(letter.bytes)],
    ]),
    h("h3", null, "Headers"),
    facts(Object.entries(headers)),
    h("h3", null, "Body"),
    h("pre.code", { tabindex: 0, "aria-label": "Body" }, h("code", null, text)),
  );
}
