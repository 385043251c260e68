// The event feed: newest first, bounded.

import { $, chip, make, put } from "./dom.js";
import { moment } from "./format.js";

const MOST = 200;
const TONES = {
  "drift.detected": "warn",
  "performance.degraded": "warn",
  "training.failed": "bad",
  "candidate.approved": "good",
  "candidate.rejected": "bad",
  "shadow.started": "accent",
  "shadow.concluded": "accent",
  "retrain.requested": "accent",
  "model.promoted": "good",
  "model.rolled_back": "bad",
};

let newest = 0;

// Events in the order of the log; those that are shown already are passed over.
export function showEvents(told, arriving) {
  const feed = $("feed");
  for (const event of told) {
    if (event.seq <= newest) continue;
    newest = event.seq;
    const li = item(event);
    if (arriving) li.className = "new";
    feed.prepend(li);
  }
  while (feed.children.length > MOST) feed.lastElementChild.remove();
  $("quiet").hidden = feed.children.length > 0;
}

function item(event) {
  const li = make("li");
  const head = make("div");
  const time = make("time", "", moment(event.time));
  time.dateTime = event.time;
  time.title = event.time;
  head.append(chip(event.kind.replaceAll("_", " "), TONES[event.kind]), make("span", "", event.model), time);
  const text = make("p", "", event.text);
  text.addEventListener("click", () => text.classList.toggle("whole"));
  li.append(head, text);
  li.title = event.id;
  return li;
}

export function showDropped(state) {
  put($("dropped"), state.dropped ? `${state.dropped} older ones are in the log only` : "");
}
