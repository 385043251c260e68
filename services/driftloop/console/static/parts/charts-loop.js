// The loop as a picture: a ring of stages around the run that goes through them, the present one lit.

import { onWidth, px, zoom } from "./charts.js";
import { h, put, s } from "./dom.js";

const HEIGHT = 196;
const SIDE = 44; // how far the ring's ends reach beyond the outermost stages
const TOP = 52;
const BOTTOM = 142;
const RADIUS = 13;
const WORDS = { done: "done", now: "now", failed: "ended here", open: "not yet", skipped: "skipped" };
const TICK = "M-4.5 .5l3.2 3.2 6-7";
const CROSS = "M-4 -4l8 8M4 -4l-8 8";

// data: { steps: [{ name, state, text }], live: { text, state }, middle: element } ; `text` is a few words.
export function loopPicture() {
  const root = s("svg.loop-picture", { role: "img", height: HEIGHT, "aria-label": "The loop" });
  const middle = h("div.loop-middle");
  const element = h("div.loop", null, root, middle);
  let shown = null;
  let size = null;
  const redraw = () => shown && size && draw(root, shown, size);
  onWidth(element, (width) => {
    size = { width: width / zoom(), scale: zoom() };
    redraw();
  });
  return {
    element,
    middle,
    update(data) {
      const key = JSON.stringify(data);
      if (shown && JSON.stringify(shown) === key) return;
      shown = data;
      redraw();
    },
  };
}

// The stages go along the top from left to right and come back along the bottom; the last is "live".
function stages({ steps, live }) {
  return [...steps, { name: "live", state: live.state, text: live.text }];
}

function draw(root, data, { width, scale }) {
  if (width < 80) return;
  const all = stages(data);
  const above = Math.ceil(all.length / 2);
  const [left, right] = [SIDE + 8, width - SIDE - 8];
  const inset = Math.min(60, width / 14);
  const along = (n, count) => (n * (right - left - 2 * inset)) / Math.max(1, count - 1);
  const places = all.map((_, n) =>
    n < above
      ? { x: left + inset + along(n, above), y: TOP }
      : { x: right - inset - along(n - above, all.length - above), y: BOTTOM },
  );
  root.replaceChildren();
  for (const [name, value] of [
    ["width", width * scale],
    ["height", HEIGHT * scale],
    ["viewBox", `0 0 ${width} ${HEIGHT}`],
  ]) {
    root.setAttribute(name, value);
  }
  const told = ({ name, state, text }) => `${name}: ${WORDS[state] ?? state}${text ? `, ${text}` : ""}`;
  root.setAttribute("aria-label", all.map(told).join("; "));
  all.forEach((stage, n) => root.append(piece(all, places, n, above, { left, right })));
  all.forEach((stage, n) => root.append(node(stage, places[n], n < above)));
}

// The way from one stage to the next: straight, or round an end of the ring.
function piece(all, places, n, above, { left, right }) {
  const next = (n + 1) % all.length;
  const [a, b] = [places[n], places[next]];
  const round = (BOTTOM - TOP) / 2;
  let d = `M${px(a.x)} ${a.y}H${px(b.x)}`;
  if (n === above - 1) d = `M${px(a.x)} ${TOP}H${px(right - round + SIDE)}a${round} ${round} 0 0 1 0 ${2 * round}H${px(b.x)}`;
  if (next === 0) d = `M${px(a.x)} ${BOTTOM}H${px(left + round - SIDE)}a${round} ${round} 0 0 1 0 ${-2 * round}H${px(b.x)}`;
  return s("path.loop-way", { d, "data-state": way(all[n].state, all[next].state, next) });
}

function way(from, to, next) {
  if (next === 0) return to === "now" || to === "done" ? "done" : "open";
  if (to === "failed") return "failed";
  const gone = (state) => state === "done" || state === "skipped";
  return gone(from) && (gone(to) || to === "now") ? "done" : "open";
}

function node(stage, { x, y }, above) {
  const glyph = stage.state === "done" ? TICK : stage.state === "failed" ? CROSS : "";
  const name = s("text.loop-name", { x: 0, y: above ? -38 : 31, "text-anchor": "middle" });
  const text = s("text.loop-text", { x: 0, y: above ? -22 : 47, "text-anchor": "middle" });
  put(name, stage.name);
  put(text, stage.text ?? "");
  return s(
    "g.loop-node",
    { transform: `translate(${px(x)} ${y})`, "data-state": stage.state, "data-name": stage.name },
    stage.state === "now" ? s("circle.loop-halo", { r: RADIUS + 6 }) : null,
    s("circle.loop-ring", { r: RADIUS }),
    glyph ? s("path.loop-glyph", { d: glyph }) : stage.state === "now" ? s("circle.loop-core", { r: 5 }) : null,
    name,
    text,
  );
}
