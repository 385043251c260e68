// Losses over the data's time, and under them what happened: champions, runs, alarms, operators.

import { get, part } from "../parts/api.js";
import { lanes } from "../parts/charts-lanes.js";
import { lineChart } from "../parts/charts-line.js";
import { framed } from "../parts/charts.js";
import { empty, h, set } from "../parts/dom.js";
import { clocks, dataTime, words } from "../parts/format.js";
import { eventHash, runHash } from "../parts/go.js";
import { section, seldom } from "../parts/section.js";

const DAY = 86_400_000;
const POINTS = 300; // buckets of a line, at most
const LEFT = 68; // as the lanes below (pages.css): room for their names
const MOST_MARKS = 2_000;
const RANGES = [
  ["All", 0],
  ["30 d", 30 * DAY],
  ["7 d", 7 * DAY],
  ["24 h", DAY],
];
const CROWNED = { "model.promoted": "good", "model.rolled_back": "bad" };
const ALARMS = new Set(["drift.detected", "performance.degraded", "labels.shifted"]);
const OPERATORS = { "operator.requested": "person", "approval.given": "person", "spec.registered": "edit" };
const ENDS = { "candidate.rejected": "warn", "training.failed": "bad", "model.promoted": "good", "model.rolled_back": "bad" };

export function timeline(its) {
  const chart = lineChart({ name: "Losses over time", height: 240, left: LEFT });
  const under = lanes("What happened");
  const own = { its, chart, under, marks: new Map(), range: 0, until: 0, answer: null, holder: null };
  const buttons = RANGES.map(([text, size]) =>
    h("button.button.small", { type: "button", "aria-pressed": String(size === 0), onclick: () => choose(size) }, text),
  );
  const ask = (signal) => {
    const since = own.range && own.until ? own.until - own.range : "";
    return get(`/api/models/${part(its.name)}/timeline`, { query: { points: POINTS, since }, signal });
  };
  const list = section(its.store, {
    title: "Time line",
    tools: buttons,
    ask,
    every: 10,
    show: (body, answer, note) => show(own, body, answer, note),
  });
  const again = seldom(list.again, 2);
  const soon = seldom(() => own.answer && draw(own), 0.5);
  function choose(size) {
    own.range = size;
    buttons.forEach((button, at) => set(button, "aria-pressed", String(RANGES[at][1] === size)));
    list.again();
  }
  return {
    element: list.element,
    model() {},
    said(facts) {
      for (const fact of facts) if (!own.marks.has(fact.id)) remember(own, markOf(fact, own.until));
      soon();
      again();
    },
    leave() {
      again.stop();
      soon.stop();
      list.stop();
    },
  };
}

// Marks of before the range are kept: a champion's reign may have begun there.
function remember({ marks }, mark) {
  marks.set(mark.id, mark);
  if (marks.size > MOST_MARKS) marks.delete(marks.keys().next().value);
}

// A mark of a fact that was just said, until the time line's own answer has it; what does not say the data's
// time itself stands at the newest known.
function markOf(fact, until) {
  const { event } = fact;
  return {
    time: fact.time,
    data_time: event.data_time || until,
    kind: fact.kind,
    text: fact.text,
    id: fact.id,
    run: event.run ?? fact.correlation ?? "",
    version: event.version ?? 0,
    since_time: event.since_time ?? 0,
  };
}

function show(own, body, answer, note) {
  own.answer = answer;
  own.until = Math.max(own.until, answer.until_time);
  for (const mark of answer.marks) remember(own, mark);
  const name = words(answer.loss_name) || "loss";
  note(`mean ${name}, by the clock of the data (UTC)`);
  if (!own.holder) {
    const items = [
      ["live", "champion, live"],
      ["frozen", "old champion, frozen", ""],
      ["estimated", "estimated, labels to come"],
    ];
    own.holder = h("div.timeline", null, framed(`Mean ${name}`, own.chart, items), own.under.element);
    own.nothing = empty("No labelled rows yet", "The loss is known once labels have come for rows that were scored.");
  }
  draw(own);
  const some = answer.live.length || answer.frozen.length || answer.estimated.length || answer.marks.length;
  if (body.firstChild !== (some ? own.holder : own.nothing)) body.replaceChildren(some ? own.holder : own.nothing);
}

function draw(own) {
  const { answer } = own;
  const marks = [...own.marks.values()].filter((mark) => mark.data_time > 0).sort((a, b) => a.data_time - b.data_time);
  const times = [...answer.live, ...answer.frozen, ...answer.estimated].map((point) => point[0]);
  for (const mark of marks) times.push(mark.data_time);
  const first = own.range ? Math.max(own.until - own.range, Math.min(...times)) : Math.min(...times);
  const range = times.length ? [first, Math.max(...times)] : [answer.since_time, answer.until_time];
  const crowned = marks.filter((mark) => mark.kind in CROWNED);
  own.chart.update({
    x: "time",
    range,
    series: [
      { name: "old champion", tone: "frozen", points: answer.frozen, gaps: true, more: "labelled rows" },
      {
        name: "estimated",
        tone: "estimated",
        points: answer.estimated.map((p) => [p[0], p[1], p[4]]),
        band: answer.estimated.map((p) => [p[0], p[2], p[3], p[4]]),
        gaps: unestimated(answer),
      },
      { name: "champion", tone: "live", points: answer.live, gaps: true, more: "labelled rows" },
    ],
    marks: [
      ...crowned.map((mark) => ({ x: mark.data_time, tone: CROWNED[mark.kind] })),
      ...marks.filter((mark) => ALARMS.has(mark.kind)).map((mark) => ({ x: mark.data_time, tone: "alarm" })),
    ].filter((mark) => mark.x >= range[0] && mark.x <= range[1]),
  });
  own.under.update({
    range,
    lanes: [championLane(own, crowned, range), runLane(own, marks, range), alarmLane(marks), operatorLane(marks)].filter(Boolean),
  });
}

// Between two estimates was a gap if none was made of the rows between them, for longer than four buckets of
// the line and than the second one's own rows took. The last number of a point is from when its rows are.
function unestimated({ live, since_time: since, until_time: until }) {
  const steps = live.slice(1).map((p, at) => p[0] - live[at][0]);
  const bucket = steps.length ? Math.min(...steps) : (until - since) / POINTS;
  return (before, after) => after.at(-1) - before[0] > Math.max(after[0] - after.at(-1), 4 * bucket);
}

function said(mark, first) {
  return `${first}\n${mark.text}\n${clocks(mark.time, mark.data_time)}`;
}

function championLane({ its }, crowned, range) {
  const bars = crowned.map((mark, at) => ({
    id: `champion:${mark.id}`,
    from: mark.data_time,
    to: crowned[at + 1]?.data_time ?? range[1],
    tone: mark.kind === "model.rolled_back" ? "back" : at % 2 ? "odd" : "even",
    text: `v${mark.version}`,
    href: mark.run ? runHash(mark.run) : eventHash(mark.id),
    label: said(
      mark,
      mark.kind === "model.rolled_back"
        ? `Version ${mark.version} again, rolled back`
        : `Version ${mark.version} became champion`,
    ),
  }));
  return bars.length ? { name: "champion", bars, model: its.name } : null;
}

function runLane({ its }, marks, range) {
  const runs = new Map();
  for (const mark of marks.filter((found) => found.run && !ALARMS.has(found.kind))) {
    const run = runs.get(mark.run) ?? {
      from: mark.data_time,
      to: mark.data_time,
      tone: "live",
      ended: false,
      first: mark,
      last: mark,
    };
    run.to = mark.data_time;
    run.last = mark;
    run.tone = ENDS[mark.kind] ?? run.tone;
    run.ended ||= mark.kind === "run.finished";
    runs.set(mark.run, run);
  }
  const going = its.model?.card.run?.id;
  const bars = [...runs].map(([id, run]) => ({
    id: `run:${id}`,
    from: run.from,
    to: id === going ? range[1] : run.to,
    tone: id === going ? "live" : run.tone,
    text: "",
    href: runHash(id),
    label: `Run ${id}\n${run.first.text}\n${run.ended || id !== going ? run.last.text : "in progress"}\n${dataTime(run.from)} to ${dataTime(run.to)}`,
  }));
  return bars.length ? { name: "runs", bars } : null;
}

function alarmLane(marks) {
  const alarms = marks.filter((mark) => ALARMS.has(mark.kind));
  if (!alarms.length) return null;
  const changes = alarms.filter((mark) => mark.since_time);
  return {
    name: "alarms",
    bars: changes.map((mark) => ({
      id: `since:${mark.id}`,
      from: mark.since_time,
      to: mark.data_time,
      tone: "since",
      label: said(mark, `Change began at ${dataTime(mark.since_time)}`),
    })),
    marks: alarms.map((mark) => ({
      id: mark.id,
      x: mark.data_time,
      tone: mark.kind === "performance.degraded" ? "bad" : "warn",
      icon: "warn",
      href: eventHash(mark.id),
      label: said(mark, mark.kind),
    })),
  };
}

function operatorLane(marks) {
  const asked = marks.filter((mark) => mark.kind in OPERATORS);
  if (!asked.length) return null;
  const item = (mark) => ({
    id: mark.id,
    x: mark.data_time,
    tone: "quiet",
    icon: OPERATORS[mark.kind],
    href: eventHash(mark.id),
    label: said(mark, mark.kind),
  });
  return { name: "people", marks: asked.map(item) };
}
