// What all charts share: scales, ticks, and a drawing that is read by pointer, by key and as a table.

import { h, put, s } from "./dom.js";

const observer = new ResizeObserver((entries) => {
  for (const entry of entries) entry.target.resized?.(entry.contentRect.width);
});
let names = 0;

export const unique = (what) => `${what}-${(names += 1)}`;

export function linear(from, to, start, end) {
  const scale = to === from ? 0 : (end - start) / (to - from);
  return (value) => start + (value - from) * scale;
}

// Tells the width of an element, and again whenever it changes; nothing is measured in between, for that
// would make the browser lay out the page for each drawing.
export function onWidth(element, hear) {
  element.resized = hear;
  observer.observe(element);
}

// How much larger than usual letters are: charts grow with them (on the wall screen).
export const zoom = () => parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;

export const px = (value) => Math.round(value * 10) / 10;

// Round numbers that cover a range: steps of 1, 2 or 5 times a power of ten.
export function ticks(from, to, about = 4) {
  if (!(to > from)) return [from];
  const raw = (to - from) / about;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const error = raw / unit;
  const step = unit * (error >= 7 ? 10 : error >= 3.2 ? 5 : error >= 1.4 ? 2 : 1);
  const found = [];
  for (let n = Math.ceil(from / step - 1e-9); n * step <= to + step * 1e-9; n += 1) found.push(n * step);
  return found;
}

const STEPS = [1e3, 1e4, 6e4, 3e5, 9e5, 36e5, 108e5, 216e5, 432e5, 864e5, 1728e5, 6048e5, 2592e6, 7776e6, 31536e6];

export function timeTicks(from, to, about = 6) {
  const step = STEPS.find((size) => (to - from) / size <= about) ?? STEPS.at(-1);
  if (step >= 2592e6) return monthTicks(from, to, Math.round(step / 2592e6));
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return found;
}

function monthTicks(from, to, months) {
  const found = [];
  const at = new Date(from);
  at.setUTCHours(0, 0, 0, 0);
  at.setUTCDate(1);
  for (; at.getTime() <= to; at.setUTCMonth(at.getUTCMonth() + 1)) {
    if (at.getTime() >= from && at.getUTCMonth() % months === 0) found.push(at.getTime());
  }
  return found;
}

const part = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options });
const hour = part({ hour: "2-digit", minute: "2-digit" });
const second = part({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = part({ day: "numeric", month: "short" });
const month = part({ month: "short", year: "numeric" });

// A tick of a time axis whose ticks are `step` milliseconds apart, in UTC.
export function timeLabel(at, step) {
  if (step < 6e4) return second.format(at);
  if (step < 864e5) return new Date(at).getUTCHours() + new Date(at).getUTCMinutes() ? hour.format(at) : day.format(at);
  return step < 25e8 ? day.format(at) : month.format(at);
}

const FIXED = [];

// A tick of a value axis: as many decimals as neighbours need to differ.
export function tick(value, step) {
  const decimals = step >= 1 ? 0 : Math.min(6, Math.ceil(-Math.log10(step) - 1e-9));
  FIXED[decimals] ??= new Intl.NumberFormat("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  return FIXED[decimals].format(Math.abs(value) < step * 1e-6 ? 0 : value).replace(/^-/, "\u2212");
}

export function line(points, at, to) {
  let text = "";
  let down = false;
  for (const point of points) {
    const y = to(point);
    if (y === null || Number.isNaN(y)) down = false;
    else {
      text += `${down ? "L" : "M"}${px(at(point))} ${px(y)}`;
      down = true;
    }
  }
  return text;
}

// A drawing that fits its width. `draw(root, data, { width, height, zoom })` fills the SVG and gives
// { summary, stops: [x of each place to read] }; `read(data, at)` gives { title, rows: [[tone, name, value]] }
// and `dots`, the [x, y, tone] to mark; `table(data)` gives { head, rows } for people who want numbers.
export function plot({ name, height, draw, read, table }) {
  const root = s("svg.plot-picture", { role: "img", height, "aria-label": name });
  const cursor = s("g.plot-cursor");
  const tip = h("div.plot-tip", { hidden: true });
  const range = { type: "range", min: 0, max: 0, step: 1, disabled: true, "aria-label": `Read values: ${name}` };
  const scrub = h("input.plot-scrub", range);
  const area = h("div.plot-area", null, root, scrub, tip);
  const element = h("div.plot", null, area);
  const its = { element, area, root, cursor, tip, scrub, name, height, draw, read, data: null, stops: [], at: -1 };
  its.draw = () => redraw(its, draw);
  its.sheet = table ? sheet(its, table) : null;
  listen(its);
  onWidth(area, (width) => {
    its.width = width;
    its.zoom = zoom();
    its.draw();
  });
  return { element, button: its.sheet?.button ?? null, update: (data) => change(its, data) };
}

function change(its, data) {
  its.data = data;
  its.draw();
  its.sheet?.refresh();
}

function redraw(its, draw) {
  const { width, zoom: scale } = its;
  if (!its.data || !(width >= 40)) return;
  its.root.replaceChildren();
  its.root.setAttribute("width", width);
  its.root.setAttribute("height", its.height * scale);
  const { summary, stops = [] } = draw(its.root, its.data, { width, height: its.height * scale, zoom: scale });
  its.root.setAttribute("aria-label", summary);
  its.root.append(its.cursor);
  its.stops = stops;
  its.scrub.disabled = stops.length === 0;
  its.scrub.max = Math.max(0, stops.length - 1);
  if (its.at >= stops.length) hide(its);
  else if (its.at >= 0) show(its, its.at);
}

function listen(its) {
  const { area, scrub } = its;
  area.addEventListener("pointermove", (event) => {
    const x = event.clientX - area.getBoundingClientRect().left;
    if (its.stops.length) show(its, nearest(its.stops, x));
  });
  area.addEventListener("pointerleave", () => scrub.matches(":focus") || hide(its));
  scrub.addEventListener("input", () => show(its, scrub.valueAsNumber));
  scrub.addEventListener("focus", () => its.stops.length && show(its, its.at < 0 ? its.stops.length - 1 : its.at));
  scrub.addEventListener("blur", () => hide(its));
  scrub.addEventListener("keydown", (event) => event.key === "Escape" && hide(its));
}

function nearest(stops, x) {
  let low = 0;
  let high = stops.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (stops[middle] < x) low = middle;
    else high = middle;
  }
  return x - stops[low] <= stops[high] - x ? low : high;
}

function hide(its) {
  its.at = -1;
  its.tip.hidden = true;
  its.cursor.replaceChildren();
}

function show(its, at) {
  its.at = at;
  const { title, rows, dots = [] } = its.read(its.data, at);
  const x = its.stops[at];
  its.cursor.replaceChildren(s("line", { x1: x, x2: x, y1: 4, y2: its.root.getAttribute("height") - 20 * zoom() }));
  for (const [dx, y, tone] of dots) {
    if (y !== null) its.cursor.append(s("circle", { cx: px(dx), cy: px(y), r: 3.5, "data-tone": tone }));
  }
  its.tip.replaceChildren(h("strong", null, title), ...rows.map(tipRow));
  its.tip.hidden = false;
  const width = its.area.clientWidth;
  const left = x > width / 2 ? x - its.tip.offsetWidth - 12 : x + 12;
  its.tip.style.transform = `translate(${Math.round(Math.max(0, left))}px, 8px)`;
  its.scrub.value = at;
  its.scrub.setAttribute("aria-valuetext", [title, ...rows.map(([, label, value]) => `${label} ${value}`)].join(", "));
}

function tipRow([tone, label, value]) {
  return h("span.plot-tip-row", null, h("i.key", { data: { tone } }), h("span", null, label), h("b", null, value));
}

// The numbers behind a picture, made when somebody asks for them.
function sheet(its, table) {
  const button = h("button.plot-table-button", { type: "button", "aria-expanded": "false" }, "Table");
  const box = h("div.plot-table", { hidden: true, tabindex: 0, role: "region", "aria-label": `Numbers: ${its.name}` });
  its.element.append(box);
  const refresh = () => !box.hidden && its.data && box.replaceChildren(filled(table(its.data)));
  button.addEventListener("click", () => {
    box.hidden = !box.hidden;
    button.setAttribute("aria-expanded", String(!box.hidden));
    refresh();
  });
  return { button, refresh };
}

function filled({ head, rows }) {
  const whole = h("table");
  whole
    .createTHead()
    .insertRow()
    .append(...head.map((text) => h("th", { scope: "col" }, text)));
  const body = whole.createTBody();
  for (const row of rows) {
    const tr = body.insertRow();
    for (const text of row) put(tr.insertCell(), text);
  }
  return whole;
}

// What the tones of a chart stand for.
export function legend(items) {
  const item = ([tone, text, title]) => h("li", { title }, h("i.key", { data: { tone } }), h("span", null, text));
  return h("ul.legend", null, items.map(item));
}

// A picture with its name, legend and the button for its numbers.
export function framed(name, picture, items = []) {
  const caption = h("figcaption", null, h("span.chart-name", null, name), items.length ? legend(items) : null, picture.button);
  return h("figure.chart-frame", null, caption, picture.element);
}
