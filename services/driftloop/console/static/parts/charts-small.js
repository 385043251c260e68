// Small pictures inside text and tables: a trend line, a bar of a share, an interval.

import { line, linear, px } from "./charts.js";
import { s } from "./dom.js";
import { number } from "./format.js";

// A line without axes of the values of [number|null]; says its last value, and its range, in words.
export function trendline(name, { width = 96, height = 24 } = {}) {
  const root = s("svg", { class: "trend", role: "img", width, height, viewBox: `0 0 ${width} ${height}` });
  let shown = "";
  const update = (values) => {
    const now = values.join();
    if (now === shown && shown) return;
    shown = now;
    draw(root, name, values, width, height);
  };
  return { element: root, update };
}

function draw(root, name, values, width, height) {
  const known = values.filter((value) => Number.isFinite(value));
  root.replaceChildren();
  if (!known.length) {
    root.setAttribute("aria-label", `${name}: no values yet`);
    return;
  }
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const x = linear(0, Math.max(1, values.length - 1), 2, width - 4);
  const y = linear(low, high === low ? low + 1 : high, height - 3, 3);
  const points = values.map((value, at) => [at, value]);
  root.append(
    s("path", {
      class: "line",
      "data-tone": "live",
      d: line(
        points,
        (p) => x(p[0]),
        (p) => (Number.isFinite(p[1]) ? y(p[1]) : null),
      ),
    }),
    s("circle", { class: "dot", "data-tone": "live", cx: px(x(values.length - 1)), cy: px(y(known.at(-1))), r: 2 }),
  );
  root.setAttribute("aria-label", `${name}: last ${number(known.at(-1))}, between ${number(low)} and ${number(high)}`);
}

// A bar that is filled to a share (0 to 1).
export function shareBar(share, label, tone = "live", { width = 80, height = 8 } = {}) {
  const root = s("svg", { class: "share", role: "img", width, height, "aria-label": label });
  const filled = Math.max(share > 0 ? 2 : 0, Math.min(1, share) * width);
  root.append(
    s("rect", { class: "share-ground", width, height, rx: height / 2 }),
    s("rect", { class: "share-fill", "data-tone": tone, width: px(filled), height, rx: height / 2 }),
  );
  return root;
}

// An interval on a line with a margin in it: [lower, upper] and its mean, on a scale shared by a table.
export function intervalBar({ lower, upper, mean, margin, from, to, tone, label }, { width = 180, height = 20 } = {}) {
  const x = linear(from, to === from ? from + 1 : to, 4, width - 4);
  const place = (value) => px(Math.max(1, Math.min(width - 1, x(value))));
  const middle = height / 2;
  return s(
    "svg",
    { class: "interval-bar", role: "img", width, height, "aria-label": label },
    s("line", { class: "axis", x1: 0, x2: width, y1: middle, y2: middle }),
    s("rect", {
      class: "band",
      "data-tone": tone,
      x: place(lower),
      width: Math.max(1, place(upper) - place(lower)),
      y: middle - 5,
      height: 10,
      rx: 2,
    }),
    s("line", { class: "mean", x1: place(mean), x2: place(mean), y1: middle - 7, y2: middle + 7 }),
    s("line", { class: "level", x1: place(margin), x2: place(margin), y1: 0, y2: height }),
  );
}
