// The causal chain of a run as an indented tree: each event under the one it answers.

import { h } from "../parts/dom.js";
import { clock } from "../parts/format.js";
import { eventHash } from "../parts/go.js";

const TONES = {
  "drift.detected": "warn",
  "labels.shifted": "warn",
  "performance.degraded": "bad",
  "training.failed": "bad",
  "candidate.rejected": "bad",
  "candidate.approved": "good",
  "model.promoted": "good",
  "model.rolled_back": "bad",
  "run.finished": "accent",
};

// links: [{ depth, id, time, kind, text, causation }] in causal order.
export function chain(links) {
  if (!links.length) return h("p.quiet", null, "Nothing yet.");
  const root = h("ul.chain", { "aria-label": "Events and what they led to" });
  const lists = [root];
  let before = null;
  for (const link of links) {
    const depth = Math.min(link.depth, lists.length);
    if (depth === lists.length) {
      const inner = h("ul");
      (lists.at(-1).lastElementChild ?? root).append(inner);
      lists.push(inner);
    }
    lists.length = depth + 1;
    lists[depth].append(item(link, before));
    before = link;
  }
  return root;
}

function item(link, before) {
  const passed = before && link.time && before.time ? (Date.parse(link.time) - Date.parse(before.time)) / 1000 : null;
  const after = passed !== null && passed >= 0.1 ? `+${passed < 10 ? passed.toFixed(1) : Math.round(passed)} s` : "";
  return h(
    "li",
    null,
    h(
      "div.chain-event",
      { data: { tone: TONES[link.kind] ?? "plain" } },
      h("i.chain-dot"),
      h("a.chain-kind", { href: eventHash(link.id) }, link.kind),
      h("span.chain-text", { title: link.text }, link.text),
      h("span.chain-time.quiet", null, `${clock(link.time)} ${after}`),
    ),
  );
}
