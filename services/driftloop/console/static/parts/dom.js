// Elements from words: what is shown is always a text node, never markup.

const SVG = "http://www.w3.org/2000/svg";

// h("a.link", { href: "#/", "aria-label": "x", onclick: f, data: { state: "bad" } }, "text", node, ...)
// A property that is null, undefined or false is left out; true gives an empty attribute.
export function h(tag, props, ...children) {
  const [name, ...classes] = tag.split(".");
  return fill(document.createElement(name), classes, props, children);
}

// The same for SVG: s("path.course", { d: "M0 0" }).
export function s(tag, props, ...children) {
  const [name, ...classes] = tag.split(".");
  return fill(document.createElementNS(SVG, name), classes, props, children);
}

function fill(element, classes, props, children) {
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(props ?? {})) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "data") Object.assign(element.dataset, value);
    else set(element, key, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Set, change or (null, undefined, false) take away an attribute; nothing is written that is so already.
export function set(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

// Change the text of an element, if it is another one.
export function put(element, text) {
  const told = String(text ?? "");
  if (element.textContent !== told) element.textContent = told;
}

// One child for each item, in order: found by key, made where missing, removed where gone.
// `create(item)` gives an element, `update(element, item)` shows the item in it.
export function keep(parent, items, key, create, update) {
  const have = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, at) => {
    const id = String(key(item));
    let child = have.get(id);
    have.delete(id);
    if (!child) {
      child = create(item);
      child.dataset.key = id;
    }
    if (parent.children[at] !== child) parent.insertBefore(child, parent.children[at] ?? null);
    update?.(child, item);
  });
  for (const child of have.values()) child.remove();
}

const ICONS = {
  well: "M3.5 8.5l3 3 6-7",
  warn: "M8 2.2L14.6 13.6H1.4zM8 6.4v3.4M8 11.6v.2",
  bad: "M5.2 1.8h5.6l3.4 3.4v5.6l-3.4 3.4H5.2l-3.4-3.4V5.2zM8 4.6v4.2M8 11v.2",
  wait: "M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8zM8 4.6V8l2.4 1.6",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  run: "M13.8 8a5.8 5.8 0 1 1-1.9-4.3M12.4 1.4v2.8H9.6",
  none: "M4 8h8",
  bell: "M4 11V7a4 4 0 0 1 8 0v4l1.2 1.4H2.8zM6.8 14.2h2.4",
  person: "M8 8a2.8 2.8 0 1 0 0-5.6A2.8 2.8 0 0 0 8 8zM2.8 14a5.2 5.2 0 0 1 10.4 0",
  search: "M7 2.4a4.6 4.6 0 1 1 0 9.2 4.6 4.6 0 0 1 0-9.2zM10.4 10.4l3.4 3.4",
  close: "M3.5 3.5l9 9M12.5 3.5l-9 9",
  sun: "M8 5a3 3 0 1 1 0 6 3 3 0 0 1 0-6zM8 1v1.6M8 13.4V15M1 8h1.6M13.4 8H15M3 3l1.2 1.2M11.8 11.8L13 13M3 13l1.2-1.2M11.8 4.2L13 3",
  theme: "M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8zM8 1.8v12.4M8 5l5-1M8 8h6.2M8 11l5 1",
  moon: "M13.4 9.6A5.8 5.8 0 0 1 6.4 2.6a5.8 5.8 0 1 0 7 7z",
  wall: "M1.8 2.8h12.4v8.4H1.8zM5.4 13.8h5.2",
  help: "M5.6 6a2.4 2.4 0 1 1 3.4 2.2c-.7.3-1 .8-1 1.6M8 12v.2",
  edit: "M3 13l.7-3 7-7 2.3 2.3-7 7zM9.4 4.3l2.3 2.3",
  back: "M6.6 3.4L2.6 7.4l4 4M2.8 7.4h6.4a4 4 0 0 1 0 8",
  dot: "M8 6.6a1.4 1.4 0 1 1 0 2.8 1.4 1.4 0 0 1 0-2.8z",
  up: "M8 13V3M3.8 7.2L8 3l4.2 4.2",
  right: "M3 8h10M8.8 3.8L13 8l-4.2 4.2",
  play: "M5 3.2v9.6l7.6-4.8z",
};

// A small picture beside a word, never instead of it: icon("warn").
export function icon(name) {
  return s("svg.icon", { viewBox: "0 0 16 16", "aria-hidden": "true", "data-icon": name }, s("path", { d: ICONS[name] }));
}

// Icon and word with the colour of a tone ("good", "warn", "bad", "accent", "quiet").
export function badge(tone, iconName, text) {
  return h("span.badge", { data: { tone } }, icon(iconName), h("span", null, text));
}

// Change a badge in place.
export function rebadge(element, tone, iconName, text) {
  if (element.dataset.tone !== tone) element.dataset.tone = tone;
  const [picture, word] = element.children;
  if (picture.dataset.icon !== iconName) {
    picture.dataset.icon = iconName;
    picture.firstChild.setAttribute("d", ICONS[iconName]);
  }
  put(word, text);
}

// "Nothing here yet", and what to do about it: empty("No model yet", "Register one:", "driftloop spec apply FILE").
export function empty(title, text = "", ...commands) {
  return h("div.empty", null, h("p.empty-title", null, title), text && h("p", null, text),
    commands.map((command) => h("pre.command", { tabindex: 0 }, h("code", null, command))));
}
