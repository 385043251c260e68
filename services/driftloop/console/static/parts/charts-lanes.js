// What happened, in lanes under a chart over the same time: bars with a beginning and an end, and marks.

import { linear } from "./charts.js";
import { h, icon, keep, set } from "./dom.js";

const MOST = 400; // items of a lane

// data: { range: [from, to], lanes: [{ name, bars: [{ id, from, to, tone, text, label, href }],
//   marks: [{ id, x, tone, icon, turn, label, href }] }] }; `label` says all in words.
export function lanes(name) {
  const tip = h("div.plot-tip.lanes-tip", { hidden: true });
  const rows = h("div.lanes-rows");
  const element = h("section.lanes", { "aria-label": name }, rows, tip);
  const tell = (event) => {
    const link = event.target.closest?.("[data-label]");
    if (link) show(element, tip, link);
    else tip.hidden = true;
  };
  for (const kind of ["pointerover", "focusin"]) rows.addEventListener(kind, tell);
  for (const kind of ["pointerleave", "focusout"]) rows.addEventListener(kind, () => (tip.hidden = true));
  return { element, update: (data) => update(rows, data) };
}

function update(rows, { range, lanes: all }) {
  const place = linear(range[0], range[1] === range[0] ? range[0] + 1 : range[1], 0, 100);
  keep(
    rows,
    all,
    (lane) => lane.name,
    create,
    (row, lane) => {
      const ground = row.lastElementChild;
      const seen = (item) => item.to === undefined || (item.to >= range[0] && item.from <= range[1]);
      const items = [...(lane.bars ?? []).filter(seen), ...(lane.marks ?? []).filter((m) => m.x >= range[0] && m.x <= range[1])];
      keep(
        ground,
        items.slice(-MOST),
        (item) => item.id,
        (item) => (item.x === undefined ? bar(item) : mark(item)),
        (link, item) => settle(link, item, place),
      );
    },
  );
}

const create = (lane) => h("div.lane", null, h("span.lane-name", null, lane.name), h("div.lane-ground"));

function bar(item) {
  const inside = item.text ? h("span", null, item.text) : null;
  return item.href ? h("a.lane-bar", null, inside) : h("span.lane-bar", { role: "img" }, inside);
}

function mark(item) {
  const link = h(item.href ? "a.lane-mark" : "span.lane-mark", item.href ? {} : { role: "img" }, icon(item.icon));
  link.classList.toggle("turned", Boolean(item.turn));
  return link;
}

function settle(link, item, place) {
  set(link, "href", item.href);
  set(link, "data-tone", item.tone);
  set(link, "data-label", item.label);
  set(link, "aria-label", item.label);
  const clip = (value) => Math.max(0, Math.min(100, value));
  if (item.x !== undefined) {
    link.style.left = `${place(item.x).toFixed(3)}%`;
    return;
  }
  const from = clip(place(item.from));
  link.style.left = `${from.toFixed(3)}%`;
  link.style.width = `${Math.max(0, clip(place(item.to)) - from).toFixed(3)}%`;
}

function show(element, tip, link) {
  const whole = element.getBoundingClientRect();
  const at = link.getBoundingClientRect();
  const [title, ...rest] = link.dataset.label.split("\n");
  tip.replaceChildren(h("strong", null, title), ...rest.map((text) => h("span", null, text)));
  tip.hidden = false;
  const middle = Math.max(at.left, whole.left) + Math.min(at.width, 40) / 2 - whole.left;
  const left = Math.max(0, Math.min(whole.width - tip.offsetWidth, middle - tip.offsetWidth / 2));
  const below = at.bottom + 6 + tip.offsetHeight < innerHeight;
  const top = below ? at.bottom - whole.top + 6 : at.top - whole.top - 6 - tip.offsetHeight;
  tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
}
