// A shadow against the champion: the interval of the loss difference now, and its course over rows.

import { fromTemplate, keep, parts, put } from "./dom.js";
import { count, loss, signed } from "./format.js";

export function showEvidence(parent, shadows) {
  keep(parent, shadows, (s) => `${s.role}:${s.version}`, () => fromTemplate("shadow"), update);
}

function update(figure, shadow) {
  const at = parts(figure);
  put(at.title, `Version ${shadow.version} (${shadow.role}) beside version ${shadow.champion}`);
  put(at.worse, `version ${shadow.champion} better`);
  put(at.better, `version ${shadow.version} better`);
  figure.dataset.verdict = verdict(shadow);
  const known = shadow.rows > 0 && shadow.lower !== null && shadow.upper !== null;
  figure.classList.toggle("empty-chart", !known);
  if (!known) {
    put(at.losses, "");
    put(at.numbers, "waiting for the first labelled rows");
    return;
  }
  const live = `loss ${loss(shadow.champion_loss)} live, ${loss(shadow.shadow_loss)} shadow`;
  put(at.losses, live);
  const edge = `margin ${signed(shadow.margin)}`;
  const interval = `${signed(shadow.lower)} to ${signed(shadow.upper)}`;
  put(at.numbers, `${interval}, mean ${signed(shadow.mean)}, ${edge}, ${count(shadow.rows)} paired rows`);
  bar(at, shadow);
  course(at, shadow);
}

function verdict(shadow) {
  if (!shadow.rows || shadow.lower === null || shadow.upper === null) return "";
  if (shadow.lower > shadow.margin) return "better";
  return shadow.upper < shadow.margin ? "worse" : "open";
}

// The smallest of 1, 2, 5 times a power of ten that is not below the value: a scale that rarely changes.
function nice(value) {
  if (!(value > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(value));
  return unit * [1, 2, 5, 10].find((step) => step * unit >= value * 0.999);
}

const clip = (value) => Math.max(-100, Math.min(100, value));

function bar(at, shadow) {
  const { lower, upper, mean, margin } = shadow;
  const half = nice(Math.max(Math.abs(lower - margin), Math.abs(upper - margin)));
  const place = (value) => clip((100 * (value - margin)) / half);
  at.bar.setAttribute("x", place(lower));
  at.bar.setAttribute("width", Math.max(0.5, place(upper) - place(lower)));
  at.mean.setAttribute("x1", place(mean));
  at.mean.setAttribute("x2", place(mean));
}

function course(at, shadow) {
  const points = shadow.points.filter((p) => p[0] > 0 && p[1] !== null && p[2] !== null);
  if (!points.length) return;
  const { margin } = shadow;
  const rows = points[points.length - 1][0] || 1;
  // The first intervals are wide and say little: the scale is made for the last four fifths.
  const said = points.filter((p) => p[0] >= rows / 5);
  const half = nice(Math.max(...said.flatMap((p) => [margin - p[1], p[2] - margin])));
  const x = (p) => ((1000 * p[0]) / rows).toFixed(1);
  const y = (value) => clip((-100 * (value - margin)) / half).toFixed(1);
  const upper = points.map((p) => `${x(p)} ${y(p[2])}`);
  const lower = points.map((p) => `${x(p)} ${y(p[1])}`).reverse();
  at.band.setAttribute("d", `M${[...upper, ...lower].join("L")}Z`);
  at.course.setAttribute("d", `M${points.map((p) => `${x(p)} ${y(p[3])}`).join("L")}`);
  put(at.top, signed(margin + half, digits(half)));
  put(at.middle, signed(margin, digits(half)));
  put(at.bottom, signed(margin - half, digits(half)));
  put(at.rows, `${count(rows)} paired rows`);
  at.picture.setAttribute("aria-label", `Interval of the loss difference over ${rows} rows`);
}

const digits = (half) => Math.max(1, Math.min(5, Math.ceil(-Math.log10(half)) + 1));
