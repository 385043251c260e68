// What comes into a model and out of it: each distribution as it was in training and as it is now.

import { get, part } from "../parts/api.js";
import { histogramPair } from "../parts/charts-histogram.js";
import { shareBar } from "../parts/charts-small.js";
import { legend } from "../parts/charts.js";
import { empty, h, keep, put, set } from "../parts/dom.js";
import { clocks, dataTime, many, percent } from "../parts/format.js";
import { eventHash } from "../parts/go.js";
import { section, seldom } from "../parts/section.js";

const TERMS = ["reference", "now"];
const ITEMS = [
  ["before", "reference: rows of the champion's training"],
  ["after", "now: newest scored rows"],
];

export function tab(its) {
  const own = { search: "", answer: null, shown: null };
  const field = h("input", { type: "search", placeholder: "Find a feature", oninput: () => find(field.value) });
  const tools = [h("label.field.bare", null, h("span", null, "Find a feature"), field)];
  const ask = (signal) => get(`/api/models/${part(its.name)}/features`, { signal });
  const list = section(its.store, {
    title: "Features",
    tools,
    ask,
    every: 30,
    show: (body, answer, note) => show(own, body, answer, note),
  });
  const again = seldom(list.again, 5);
  function find(text) {
    own.search = text.trim().toLowerCase();
    if (own.answer) draw(own);
  }
  return {
    element: list.element,
    said: (facts) => facts.some((fact) => fact.kind !== "spec.registered") && again(),
    leave() {
      again.stop();
      list.stop();
    },
  };
}

function show(own, body, answer, note) {
  own.answer = answer;
  if (!answer.features.length && !answer.predictions.length) {
    own.shown = null;
    note("");
    body.replaceChildren(
      empty(
        "Nothing to compare yet",
        "The reference are the rows the champion was trained on; it is there after the first promotion.",
      ),
    );
    return;
  }
  note(
    `${many(answer.now_rows, "newest scored row")}, ${dataTime(answer.from_time)} to ${dataTime(answer.until_time)}, against ${many(answer.reference_rows, "training row")} of v${answer.version}; the largest share of an alarm first`,
  );
  if (!own.shown || !body.contains(own.shown.grid)) {
    own.shown = {
      grid: h("div.features"),
      answers: h("div.features"),
      none: h("p.quiet", { hidden: true }, "No feature has that in its name."),
    };
    own.shown.predictions = h("div.stack", null, h("h3", null, "Predictions"), own.shown.answers);
    body.replaceChildren(legend(ITEMS), own.shown.predictions, h("h3", null, "Features"), own.shown.none, own.shown.grid);
  }
  draw(own);
}

const rank = (its) => its.share ?? -1;

function draw({ answer, search, shown }) {
  const sorted = [...answer.features].sort(
    (a, b) => rank(b) - rank(a) || b.distance - a.distance || a.name.localeCompare(b.name),
  );
  const found = sorted.filter((its) => its.name.toLowerCase().includes(search));
  shown.none.hidden = found.length > 0;
  shown.predictions.hidden = answer.predictions.length === 0;
  keep(shown.answers, answer.predictions, (its) => its.name, create, update);
  keep(shown.grid, found, (its) => its.name, create, update);
}

const charts = new WeakMap();

function create(its) {
  const chart = histogramPair({ name: its.name });
  const at = {
    type: h("span.quiet"),
    share: h("div.feature-share"),
    alarm: h("p.feature-alarm", { hidden: true }),
    note: h("span", { title: "Total variation distance: the share of rows that would have to move, 0 to 1" }),
  };
  const element = h(
    "figure.feature",
    null,
    h("figcaption.row", null, h("strong.clip", { title: its.name }, its.name), at.type, at.share),
    at.alarm,
    chart.element,
    h("div.feature-note", null, at.note, chart.button),
  );
  charts.set(element, { chart, at, shown: "" });
  return element;
}

function update(element, its) {
  const own = charts.get(element);
  const now = JSON.stringify(its);
  if (own.shown === now) return;
  own.shown = now;
  const { at, chart } = own;
  put(at.type, its.type);
  showShare(at.share, its);
  showAlarm(at.alarm, its.alarm);
  const [was, is] = its.missing;
  put(
    at.note,
    `distance ${its.distance.toFixed(2)}${was || is ? `, missing ${percent(was)}, now ${percent(is)}` : ", none missing"}`,
  );
  set(element, "data-share", its.share === null ? null : its.share >= 1 ? "alarm" : its.share >= 0.5 ? "suspected" : "calm");
  const sum = (shares) => shares.reduce((all, share) => all + share, 0);
  const few = sum(its.reference) === 0 && sum(its.now) === 0;
  chart.element.hidden = few;
  if (few) put(at.note, "No rows to compare yet.");
  if (!few)
    chart.update({
      edges: its.edges,
      names: its.names,
      before: its.reference,
      after: its.now,
      missing: its.missing,
      terms: TERMS,
    });
}

function showShare(place, its) {
  if (its.share === null) {
    place.replaceChildren(h("span.quiet", null, "not watched"));
    return;
  }
  const share = Math.min(1, its.share);
  const tone = share >= 1 ? "bad" : share >= 0.5 ? "warn" : "live";
  place.replaceChildren(
    shareBar(share, `${percent(share)} of what makes an alarm`, tone, { width: 64 }),
    h("span.num", null, percent(Math.round(share * 1000) / 1000)),
  );
}

function showAlarm(place, alarm) {
  place.hidden = !alarm;
  if (!alarm) return;
  const since = alarm.since_time ? `Change at ${dataTime(alarm.since_time)}. ` : "";
  place.replaceChildren(
    h("a", { href: eventHash(alarm.id) }, "Alarm"),
    ` ${clocks(alarm.time, alarm.data_time)}, ${percent(alarm.share)} of it. `,
    h("b", null, since),
    h("span.quiet", null, alarm.text),
  );
}
