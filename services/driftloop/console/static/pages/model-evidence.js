// Each version beside the champion: its confidence sequence narrowing over rows, its margin, its verdict.

import { get } from "../parts/api.js";
import { lineChart } from "../parts/charts-line.js";
import { intervalBar } from "../parts/charts-small.js";
import { framed } from "../parts/charts.js";
import { badge, empty, h, keep, put, rebadge } from "../parts/dom.js";
import { count, dataTime, loss, many, moment, number, signed, words } from "../parts/format.js";
import { runHash } from "../parts/go.js";
import { facts, section, seldom, table } from "../parts/section.js";

const MOST = 400;
const OPEN = { better: ["good", "well"], worse: ["bad", "bad"], open: ["accent", "run"] };

export function tab(its) {
  const now = h("div.stack");
  const none = empty(
    "No version answers beside the champion",
    "A challenger is put there by a run that passed the offline gate, or by an operator. The newest concluded ones are below.",
  );
  const own = { its, lines: new Map(), now, none };
  const past = pastSection(its);
  const element = h("div.stack", null, now, past.element);
  const again = seldom(past.again, 1);
  return {
    element,
    model: (model) => show(own, model),
    evidence: (points) => take(own, points),
    said: (told) => told.some((fact) => fact.kind === "shadow.concluded") && again(),
    leave() {
      again.stop();
      past.stop();
    },
  };
}

const keyOf = (shadow) => `${shadow.run}:${shadow.role}:${shadow.version}`;

function show(own, model) {
  const { lines, now, none } = own;
  for (const shadow of model.shadows) {
    const before = lines.get(keyOf(shadow));
    const newer = before && before.rows > shadow.rows;
    lines.set(keyOf(shadow), newer ? before : { ...shadow, points: shadow.points.filter((p) => p[1] !== null) });
  }
  const current = new Set(model.shadows.map(keyOf));
  for (const key of lines.keys()) if (!current.has(key)) lines.delete(key);
  own.loss = model.card.loss_name;
  if (!lines.size) now.replaceChildren(h("section.card", { "aria-label": "Evidence" }, none));
  else {
    if (now.firstChild?.contains(none)) now.replaceChildren();
    draw(own);
  }
}

function take(own, points) {
  for (const told of points) {
    const shadow = own.lines.get(keyOf(told));
    const point = told.point;
    if (!shadow || point[0] <= shadow.rows) continue;
    shadow.points = [...shadow.points, point];
    if (shadow.points.length > MOST)
      shadow.points = shadow.points.filter((_, at) => at % 2 === 0 || at === shadow.points.length - 1);
    const { margin, champion_loss, shadow_loss } = told;
    const [rows, lower, upper, mean] = point;
    Object.assign(shadow, { rows, lower, upper, mean, margin, champion_loss, shadow_loss });
  }
  if (own.lines.size) draw(own);
}

function draw(own) {
  keep(own.now, [...own.lines.values()], keyOf, (shadow) => create(own, shadow), update);
}

const charts = new WeakMap();

function create(own, shadow) {
  const chart = lineChart({ name: `Loss difference of version ${shadow.version}`, height: 320 });
  const at = { state: badge("accent", "run", ""), text: h("p.evidence-text"), facts: h("div") };
  const items = [
    ["open", "interval that holds the true difference"],
    ["mean", "mean so far"],
  ];
  const frame = framed(`Loss of v${shadow.champion} minus loss of v${shadow.version}, over paired rows`, chart, items);
  const element = h(
    "section.card.evidence",
    { "aria-label": `Version ${shadow.version} beside version ${shadow.champion}` },
    h(
      "header",
      null,
      h("h2", null, `v${shadow.version} (${words(shadow.role)}) beside v${shadow.champion}`),
      at.state,
      h("a.push", { href: runHash(shadow.run) }, "Run"),
    ),
    at.text,
    h("div.wide-narrow", null, frame, at.facts),
  );
  charts.set(element, { chart, at, frame });
  return element;
}

function verdict({ rows, lower, upper, margin }) {
  if (!rows || lower === null || margin === null) return "open";
  if (lower > margin) return "better";
  return upper < margin ? "worse" : "open";
}

function update(element, shadow) {
  const { chart, at, frame } = charts.get(element);
  const now = verdict(shadow);
  const words_ = { better: `better than v${shadow.champion}`, worse: `worse than v${shadow.champion}`, open: "not decided yet" };
  rebadge(at.state, ...OPEN[now], words_[now]);
  frame.dataset.verdict = now;
  put(at.text, sentence(shadow, now));
  at.facts.replaceChildren(numbers(shadow));
  frame.hidden = shadow.points.length === 0;
  if (frame.hidden) return;
  const margin = shadow.margin ?? 0;
  const steps = course(shadow.points, margin);
  chart.update({
    x: "rows",
    unit: "paired rows",
    range: [0, Math.max(shadow.rows, 1)],
    focus: focus(shadow.points, margin),
    series: [
      { name: "interval", tone: now, points: [], band: shadow.points.map((p) => [p[0], p[1], p[2]]) },
      { name: "mean", tone: "mean", points: shadow.points.map((p) => [p[0], p[3]]) },
    ],
    levels: [
      { y: margin, text: `margin ${signed(margin)}: above it v${shadow.version} is better`, tone: "margin" },
      ...(margin ? [{ y: 0, text: "no difference", tone: "zero", left: true }] : []),
    ],
    spans: steps,
  });
}

// Where on the way the verdict would have been what: shaded, once the interval has left the margin.
function course(points, margin) {
  const spans = [];
  for (const [rows, lower, upper] of points) {
    const tone = lower > margin ? "better" : upper < margin ? "worse" : "";
    const last = spans.at(-1);
    if (last?.tone === tone) last.to = rows;
    else spans.push({ from: rows, to: rows, tone });
  }
  return spans.filter((span) => span.tone);
}

// The first intervals are wide and say little: the scale is made for the last nine tenths of the rows.
function focus(points, margin) {
  const last = points.at(-1)?.[0] ?? 0;
  const seen = points.filter((p) => p[0] >= last / 10);
  const values = [margin, 0, ...seen.flatMap((p) => [p[1], p[2]])];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low || 1) * 0.06;
  return [low - room, high + room];
}

function sentence(shadow, now) {
  if (!shadow.rows || shadow.lower === null)
    return "Waiting for the first rows that both have answered and a label has come for.";
  const way = {
    better: "All of it lies above the margin.",
    worse: "All of it lies below the margin.",
    open: "The margin lies in it: more rows are needed.",
  };
  return `After ${many(shadow.rows, "paired row")} the true difference of the losses is between ${signed(shadow.lower)} and ${signed(shadow.upper)}. ${way[now]}`;
}

function numbers(shadow) {
  return facts([
    ["mean difference", signed(shadow.mean)],
    ["interval", shadow.lower === null ? "" : `${signed(shadow.lower)} to ${signed(shadow.upper)}`],
    ["margin", signed(shadow.margin)],
    ["rule", words(shadow.rule)],
    ["error level", shadow.level === null ? "" : number(shadow.level)],
    ["paired rows", count(shadow.rows)],
    [`loss of v${shadow.champion}`, loss(shadow.champion_loss)],
    [`loss of v${shadow.version}`, loss(shadow.shadow_loss)],
    ["rows since", shadow.from_time ? dataTime(shadow.from_time) : ""],
    ["challenger", shadow.challenger ? `number ${shadow.challenger} of its series` : ""],
  ]);
}

// What was concluded, with the margin that was told when it began.
function pastSection(its) {
  const events = (kind, signal) => get("/api/events", { query: { model: its.name, kind, limit: 40 }, signal });
  const ask = (signal) => Promise.all([events("shadow.concluded", signal), events("shadow.started", signal)]);
  return section(its.store, {
    title: "Concluded",
    ask,
    every: 30,
    show(body, [concluded, started]) {
      const key = ({ run, role }) => `${run}:${role}`;
      const margins = new Map(started.events.map(({ event }) => [key(event), event.margin]));
      showPast(
        body,
        concluded.events.slice(0, 20).map((fact) => ({ fact, ...fact.event, margin: margins.get(key(fact.event)) ?? null })),
      );
    },
  });
}

// What a verdict means for whoever came last: the version on trial, or the champion on probation.
const MEANINGS = {
  challenger: {
    better: (its) => ["good", "well", `v${its.version} is better: promoted`],
    worse: (its) => ["warn", "none", `v${its.version} is worse: rejected`],
    undecided: (its) => ["quiet", "none", `undecided: v${its.champion} stays`],
  },
  probation: {
    better: (its) => ["bad", "bad", `v${its.version} was better: rolled back`],
    worse: (its) => ["good", "well", `v${its.version} was worse: v${its.champion} stays`],
    undecided: (its) => ["quiet", "none", `undecided: v${its.champion} stays`],
  },
};

function showPast(body, all) {
  if (!all.length) {
    body.replaceChildren(h("p.quiet", null, "No live comparison has been concluded yet."));
    return;
  }
  const far = Math.max(...all.flatMap((its) => [Math.abs(its.lower), Math.abs(its.upper), Math.abs(its.margin ?? 0)]));
  const rows = all.map((its) => {
    const [tone, sign, text] = MEANINGS[its.role]?.[its.verdict]?.(its) ?? ["quiet", "none", words(its.verdict)];
    const label = `${signed(its.lower)} to ${signed(its.upper)}, mean ${signed(its.mean)}`;
    const bar = intervalBar({
      ...its,
      margin: its.margin ?? 0,
      from: -far,
      to: far,
      tone: tone === "quiet" ? "open" : tone,
      label,
    });
    return [
      h("a", { href: runHash(its.run) }, `v${its.version}`),
      `${words(its.role)} beside v${its.champion}`,
      [badge(tone, sign, text), "nowrap"],
      bar,
      [label, "num"],
      [its.margin === null ? "" : signed(its.margin), "num"],
      [count(its.rows), "num"],
      [moment(its.fact.time), "num.quiet"],
    ];
  });
  body.replaceChildren(
    table(
      [
        "version",
        "as",
        "verdict",
        "interval",
        ["loss difference", "num"],
        ["margin", "num"],
        ["paired rows", "num"],
        ["when", "num"],
      ],
      rows,
      "Concluded comparisons",
    ),
  );
}
