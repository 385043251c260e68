// Lines over time or rows: with bands, levels, shaded spans, and marks that say what happened.

import { line, linear, plot, px, tick, ticks, timeLabel, timeTicks, unique } from "./charts.js";
import { s } from "./dom.js";
import { dataTime, number } from "./format.js";

const LEFT = 52;
const RIGHT = 14;
const TOP = 10;
const BOTTOM = 24;

// data: { x: "time"|"rows", unit, series: [{ name, tone, points: [[x, y, more]...], band: [[x, low, high]...], step, gaps }],
//     (`gaps`: true, or whether there is one between two points: (before, after) => true)
//   levels: [{ y, text, tone, left }], spans: [{ from, to, tone }], marks: [{ x, tone, text }], range: [from, to]|null,
//   focus: [low, high]|null (the values that must be seen; bands may be cut) }
// `left` is the room for the numbers of the upright axis.
export function lineChart({ name, height = 220, left = LEFT }) {
  return plot({ name, height, draw: (root, data, size) => draw(root, data, size, left), read, table });
}

function draw(root, data, { width, height, zoom }, margin) {
  const stops = places(data);
  const [from, to] = data.range ?? (stops.length ? [stops[0], stops.at(-1)] : [0, 1]);
  const [low, high] = data.focus ?? bounds(data);
  const [left, top] = [margin * zoom, TOP * zoom];
  const inside = { x: left, y: top, width: Math.max(1, width - left - RIGHT * zoom), height: height - top - BOTTOM * zoom };
  const x = linear(from, to === from ? from + 1 : to, left, left + inside.width);
  const y = linear(low, high === low ? low + 1 : high, top + inside.height, top);
  const clip = unique("clip");
  root.append(s("clipPath", { id: clip }, s("rect", inside)));
  for (const shaded of data.spans ?? []) root.append(shade(shaded, x, inside));
  axisY(root, [low, high], y, inside, zoom);
  axisX(root, data, [from, to], x, inside, zoom);
  const body = s("g", { "clip-path": `url(#${clip})` });
  root.append(body);
  for (const series of data.series) body.append(...drawn(series, x, y));
  for (const level of data.levels ?? []) root.append(...levelLine(level, y, inside, zoom));
  for (const mark of data.marks ?? []) root.append(upright(mark, x, inside));
  data.place = { x, y, stops };
  return { summary: summary(data, [from, to]), stops: stops.map(x) };
}

// Each place that has a value, in order.
function places({ series }) {
  const all = series.flatMap(({ points, band = [] }) => (points.length ? points : band).map((p) => p[0]));
  return [...new Set(all)].sort((a, b) => a - b);
}

function span(values) {
  return values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
}

function bounds(data) {
  const lines = data.series.flatMap((s) => s.points.map((p) => p[1]));
  const bands = data.series.flatMap((s) => (s.band ?? []).flatMap((p) => [p[1], p[2]]));
  const levels = (data.levels ?? []).map((level) => level.y);
  const known = [...lines, ...bands, ...levels].filter((value) => Number.isFinite(value));
  const [low, high] = span(known);
  const room = (high - low || Math.abs(high) || 1) * 0.08;
  const bottom = low - room;
  return [data.zero || (low >= 0 && bottom < 0) ? Math.min(0, low) : bottom, high + room];
}

function axisY(root, [low, high], y, inside, zoom) {
  const places = ticks(low, high, Math.max(2, Math.round(inside.height / (42 * zoom))));
  const step = places.length > 1 ? places[1] - places[0] : 1;
  for (const value of places) {
    const at = px(y(value));
    root.append(
      s("line", { class: "grid", x1: inside.x, x2: inside.x + inside.width, y1: at, y2: at }),
      s("text", { class: "tick", x: inside.x - 8 * zoom, y: at + 3.5 * zoom, "text-anchor": "end" }, tick(value, step)),
    );
  }
}

function axisX(root, data, [from, to], x, inside, zoom) {
  const time = data.x === "time";
  const about = Math.max(2, Math.floor(inside.width / (100 * zoom)));
  const places = time ? timeTicks(from, to, about) : ticks(from, to, about);
  const step = places.length > 1 ? places[1] - places[0] : Math.max(1, to - from);
  const bottom = inside.y + inside.height;
  const right = inside.x + inside.width;
  root.append(s("line", { class: "axis", x1: inside.x, x2: right, y1: bottom, y2: bottom }));
  for (const value of places) {
    const at = px(x(value));
    const end = at > right - 24 * zoom ? "end" : at < inside.x + 16 * zoom ? "start" : "middle";
    root.append(
      s("line", { class: "axis", x1: at, x2: at, y1: bottom, y2: bottom + 4 }),
      s(
        "text",
        { class: "tick", x: at, y: bottom + 17 * zoom, "text-anchor": end },
        time ? timeLabel(value, step) : tick(value, step),
      ),
    );
  }
}

function drawn(series, x, y) {
  const shapes = [];
  const band = (series.band ?? []).filter((p) => Number.isFinite(p[1]) && Number.isFinite(p[2]));
  for (const part of stretches(band, series.gaps)) {
    if (part.length === 1) {
      const [at, low, high] = part[0];
      if (band.length > 1) shapes.push(s("path", { class: "alone", "data-tone": series.tone, d: `M${px(x(at))} ${px(y(low))}V${px(y(high))}` }));
      continue;
    }
    const up = part.map((p) => `${px(x(p[0]))} ${px(y(p[2]))}`);
    const down = part.map((p) => `${px(x(p[0]))} ${px(y(p[1]))}`).reverse();
    shapes.push(s("path", { class: "band", "data-tone": series.tone, d: `M${[...up, ...down].join("L")}Z` }));
  }
  const to = (p) => (Number.isFinite(p[1]) ? y(p[1]) : null);
  const path = series.step ? stairs(series.points, x, to) : line(broken(series.points, series.gaps), (p) => x(p[0]), to);
  shapes.push(s("path", { class: "line", "data-tone": series.tone, d: path || null }));
  for (const [only] of stretches(series.points, series.gaps).filter((part) => part.length === 1 && to(part[0]) !== null)) {
    const r = series.points.length === 1 ? 3 : 2;
    shapes.push(s("circle", { class: "dot", "data-tone": series.tone, cx: px(x(only[0])), cy: px(to(only)), r }));
  }
  return shapes;
}

// Over time, a line and its band are broken where four times the usual distance has no value.
function stretches(points, gaps) {
  if (!gaps || !points.length) return points.length ? [points] : [];
  const steps = points.slice(1).map((p, at) => p[0] - points[at][0]);
  const usual = [...steps].sort((a, b) => a - b)[steps.length >> 1];
  const apart = typeof gaps === "function" ? gaps : (before, after) => points.length > 2 && after[0] - before[0] > 4 * usual;
  const found = [[points[0]]];
  points.slice(1).forEach((p, at) => (apart(points[at], p) ? found.push([p]) : found.at(-1).push(p)));
  return found;
}

const broken = (points, gaps) => stretches(points, gaps).flatMap((part) => [[part[0][0], NaN], ...part]);

function stairs(points, x, to) {
  return points.map((p, at) => (at ? `H${px(x(p[0]))}V${px(to(p))}` : `M${px(x(p[0]))} ${px(to(p))}`)).join("");
}

function shade({ from, to, tone }, x, inside) {
  const left = Math.max(inside.x, x(from));
  const right = Math.min(inside.x + inside.width, x(to));
  return s("rect", { ...inside, class: "shade", "data-tone": tone, x: px(left), width: px(Math.max(0, right - left)) });
}

function levelLine(level, y, inside, zoom) {
  const at = px(y(level.y));
  if (!(at >= inside.y && at <= inside.y + inside.height)) return [];
  const right = inside.x + inside.width;
  return [
    s("line", { class: "level", "data-tone": level.tone, x1: inside.x, x2: right, y1: at, y2: at }),
    s(
      "text",
      {
        class: "level-text",
        x: level.left ? inside.x + 4 : right - 4,
        y: at + 14 * zoom,
        "text-anchor": level.left ? "start" : "end",
      },
      level.text,
    ),
  ];
}

function upright(mark, x, inside) {
  const at = px(x(mark.x));
  return s("line", { class: "upright", "data-tone": mark.tone, x1: at, x2: at, y1: inside.y, y2: inside.y + inside.height });
}

function summary(data, [from, to]) {
  const where =
    data.x === "time" ? `${dataTime(from)} to ${dataTime(to)}` : `${number(from)} to ${number(to)} ${data.unit ?? ""}`;
  const lines = data.series.map((s) => {
    const known = s.points.filter((p) => Number.isFinite(p[1]));
    if (!known.length) return `${s.name}: nothing yet`;
    const values = known.map((p) => p[1]);
    return `${s.name}: last ${number(values.at(-1))}, lowest ${number(Math.min(...values))}, highest ${number(Math.max(...values))}`;
  });
  return `${where}. ${lines.join(". ")}.`;
}

function read(data, at) {
  const { x, y, stops } = data.place;
  const value = stops[at];
  const near = (stops.length > 1 ? (stops.at(-1) - stops[0]) / (stops.length - 1) : 1) * 1.5;
  const rows = [];
  const dots = [];
  for (const series of data.series) {
    const point = closest(series.points, value, near);
    const band = closest(series.band ?? [], value, near);
    if (!point && !band) continue;
    const bounded = band && Number.isFinite(band[1]) ? `${number(band[1])} to ${number(band[2])}` : "";
    const mean = point ? number(point[1]) : "";
    rows.push([series.tone, series.name, [mean, bounded && (mean ? `(${bounded})` : bounded)].filter(Boolean).join(" ")]);
    if (point?.[2] !== undefined && series.more) rows.push(["", series.more, number(point[2])]);
    if (point) dots.push([x(point[0]), Number.isFinite(point[1]) ? y(point[1]) : null, series.tone]);
  }
  const title = data.x === "time" ? dataTime(value) : `${number(value)} ${data.unit ?? ""}`;
  return { title, rows, dots };
}

function closest(points, x, near) {
  let best = null;
  for (const point of points) {
    const away = Math.abs(point[0] - x);
    if (away <= near && (!best || away < Math.abs(best[0] - x))) best = point;
  }
  return best;
}

function table(data) {
  const head = [data.x === "time" ? "time of the data" : (data.unit ?? "x")];
  const columns = [];
  for (const series of data.series) {
    head.push(series.name);
    columns.push(new Map(series.points.map((p) => [p[0], number(p[1])])));
    if (series.band?.length) {
      head.push("from", "to");
      columns.push(new Map(series.band.map((p) => [p[0], number(p[1])])), new Map(series.band.map((p) => [p[0], number(p[2])])));
    }
  }
  const stops = data.place?.stops ?? [];
  const label = (x) => (data.x === "time" ? dataTime(x) : number(x));
  return { head, rows: stops.map((x) => [label(x), ...columns.map((column) => column.get(x) ?? "")]) };
}
