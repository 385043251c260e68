// Two distributions of the same thing, as it was and as it is: numbers as bars, names as pairs of bars.

import { linear, plot, px, tick, ticks } from "./charts.js";
import { s } from "./dom.js";
import { number, percent } from "./format.js";

const LEFT = 8;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 20;
const NAMES_AT_MOST = 8;
const ROW = 22;

// data: { edges | names, before: [share], after: [share], missing: [before, after], mark, terms: [before, after] }
export function histogramPair({ name, height = 132 }) {
  return plot({ name, height, draw, read, table });
}

function draw(root, data, size) {
  return data.names?.length ? drawNames(root, data, size) : drawNumbers(root, data, size);
}

// The outermost cells reach to the smallest and largest value ever seen: a cell is shown at most
// eight times as wide as the middle one, so that one odd value does not flatten the rest.
function shownEdges(edges) {
  const widths = edges.slice(1).map((edge, at) => edge - edges[at]);
  const usual = [...widths].sort((a, b) => a - b)[widths.length >> 1] || Math.max(...widths, 1e-12);
  const first = Math.max(edges[0], edges[1] - 8 * usual);
  const last = Math.min(edges.at(-1), edges.at(-2) + 8 * usual);
  return [first, ...edges.slice(1, -1), last];
}

function drawNumbers(root, data, { width, height, zoom }) {
  const bottom = height - BOTTOM * zoom;
  const shown = data.edges.length > 2 ? shownEdges(data.edges) : data.edges;
  const sizes = shown.slice(1).map((edge, at) => Math.max(edge - shown[at], 1e-12));
  const before = data.before.map((share, at) => share / sizes[at]);
  const after = data.after.map((share, at) => share / sizes[at]);
  const highest = Math.max(...before, ...after, 1e-12);
  const x = linear(shown[0], shown.at(-1), LEFT, width - RIGHT);
  const y = linear(0, highest, bottom, TOP);
  root.append(
    s("path", { class: "bars", "data-tone": "before", d: outline(shown, before, x, y, true) }),
    s("path", { class: "bars", "data-tone": "after", d: outline(shown, after, x, y, true) }),
    s("path", { class: "line", "data-tone": "after", d: outline(shown, after, x, y, false) }),
    s("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: bottom, y2: bottom }),
  );
  axis(root, shown, x, { width, height, zoom });
  data.place = { x, y, before, after, shown };
  return { summary: summary(data), stops: data.before.map((_, at) => x((shown[at] + shown[at + 1]) / 2)) };
}

function outline(edges, heights, x, y, closed) {
  const ground = px(y(0));
  let text = `M${px(x(edges[0]))} ${ground}`;
  heights.forEach((value, at) => {
    text += `V${px(y(value))}H${px(x(edges[at + 1]))}`;
  });
  return `${text}V${ground}${closed ? "Z" : ""}`;
}

function axis(root, edges, x, { width, height, zoom }) {
  const places = ticks(edges[0], edges.at(-1), 4);
  const step = places.length > 1 ? places[1] - places[0] : 1;
  for (const value of places) {
    const at = px(x(value));
    const end = at < 24 * zoom ? "start" : at > width - 24 * zoom ? "end" : "middle";
    root.append(s("text", { class: "tick", x: at, y: height - 5 * zoom, "text-anchor": end }, tick(value, step)));
  }
}

// The largest names by either share, and all others as one.
function largest(data) {
  const rows = data.names.map((name, at) => [name, data.before[at] ?? 0, data.after[at] ?? 0]);
  rows.sort((a, b) => Math.max(b[1], b[2]) - Math.max(a[1], a[2]));
  if (rows.length <= NAMES_AT_MOST) return rows;
  const others = rows.slice(NAMES_AT_MOST - 1);
  const sum = (at) => others.reduce((total, row) => total + row[at], 0);
  return [...rows.slice(0, NAMES_AT_MOST - 1), [`${others.length} others`, sum(1), sum(2)]];
}

function drawNames(root, data, { width, zoom }) {
  const step = ROW * zoom;
  const rows = largest(data);
  const label = Math.min(120 * zoom, width * 0.3);
  const highest = Math.max(...rows.flatMap((row) => [row[1], row[2]]), 1e-12);
  const size = linear(0, highest, 0, width - label - 64 * zoom);
  root.setAttribute("height", rows.length * step + 6);
  rows.forEach(([name, before, after], at) => {
    const top = 4 + at * step;
    const bar = (share, y, tone) =>
      s("rect", {
        class: "bar-pair",
        "data-tone": tone,
        x: label,
        y,
        width: px(Math.max(0.5, size(share))),
        height: 8 * zoom,
        rx: 1.5,
      });
    root.append(
      s("text", { class: "tick name", x: label - 8, y: top + 12 * zoom, "text-anchor": "end" }, short(name, label / zoom)),
      bar(before, top, "before"),
      bar(after, top + 9 * zoom, "after"),
      s("text", { class: "tick", x: label + px(size(Math.max(before, after))) + 6, y: top + 13 * zoom }, percent(after)),
    );
  });
  data.place = { rows };
  return { summary: summary(data), stops: [] };
}

function short(text, width) {
  const most = Math.max(4, Math.floor((width - 12) / 6.4));
  return text.length > most ? `${text.slice(0, most - 1)}\u2026` : text;
}

function summary(data) {
  const [was, is] = data.terms;
  const missing = data.missing ? `Missing: ${percent(data.missing[0])} ${was}, ${percent(data.missing[1])} ${is}.` : "";
  if (data.names?.length) {
    const rows = largest(data)
      .slice(0, 4)
      .map(([name, a, b]) => `${name} ${percent(a)} ${was}, ${percent(b)} ${is}`);
    return `${rows.join("; ")}. ${missing}`;
  }
  const at = (shares) => shares.indexOf(Math.max(...shares));
  const most = (shares) => `${number(data.edges[at(shares)])} to ${number(data.edges[at(shares) + 1])}`;
  return `Most rows ${was}: ${most(data.before)}; ${is}: ${most(data.after)}. ${missing}`;
}

function read(data, at) {
  const { place } = data;
  const [was, is] = data.terms;
  const rows = [
    ["before", was, percent(data.before[at])],
    ["after", is, percent(data.after[at])],
  ];
  const x = place.x((place.shown[at] + place.shown[at + 1]) / 2);
  const dots = [
    [x, place.y(place.before[at]), "before"],
    [x, place.y(place.after[at]), "after"],
  ];
  return { title: `${number(data.edges[at])} to ${number(data.edges[at + 1])}`, rows, dots };
}

function table(data) {
  const cells = data.names?.length
    ? data.names.map((name, at) => [name, percent(data.before[at]), percent(data.after[at])])
    : data.before.map((share, at) => [
        `${number(data.edges[at])} to ${number(data.edges[at + 1])}`,
        percent(share),
        percent(data.after[at]),
      ]);
  if (data.missing) cells.push(["missing", percent(data.missing[0]), percent(data.missing[1])]);
  return { head: ["values", ...data.terms], rows: cells };
}
