// What is round every page: navigation, link state, banner, theme, wall screen, keys, spoken alarms.

import { badge, h, icon, put, rebadge } from "./dom.js";
import { clock, many } from "./format.js";
import { go } from "./go.js";
import { KEYS, listen } from "./keys.js";

const $ = (id) => document.getElementById(id);
const PAGES = [["", "Overview", "o"], ["events", "Events", "e"], ["data", "Data", "d"], ["services", "Services", "s"]];
const THEME_NAMES = { "": "as the system", light: "light", dark: "dark" };
const SPEAK_MS = 5_000;

export function createShell(store) {
  const link = badge("quiet", "wait", "connecting");
  link.classList.add("link");
  const user = h("a.user", { href: "/login", title: "The token of this browser" });
  const theme = h("button.tool", { type: "button", onclick: () => nextTheme(theme) });
  const wall = h("button.tool", { type: "button", title: "Wall screen (w)", "aria-label": "Wall screen", onclick: toggleWall }, icon("wall"));
  const help = h("button.tool", { type: "button", title: "Keys (?)", "aria-label": "Keys", onclick: showHelp }, icon("help"));
  const unwall = h("button.unwall", { type: "button", onclick: toggleWall }, "Leave the wall screen (Esc)");
  $("tools").append(link, user, theme, wall, help, unwall);
  $("nav").append(...PAGES.map(([page, name, key]) =>
    h("li", null, h("a", { href: `#/${page}`, title: `g ${key}`, data: { page } }, name))));
  fillHelp();
  showTheme(theme);
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    $("page").focus();
  });
  listen({
    "g o": () => go("#/"), "g e": () => go("#/events"), "g d": () => go("#/data"), "g s": () => go("#/services"),
    "?": showHelp, w: toggleWall, t: () => nextTheme(theme), "/": focusSearch,
    Escape: () => (document.documentElement.dataset.wall === undefined ? false : toggleWall()),
  });
  const titles = createTitles(store);
  const speak = createSpeaker(store);
  store.on("cards", speak);
  store.on("cards", titles.again); // also where no frame is drawn: in a tab behind others
  return {
    at(page) {
      for (const a of $("nav").querySelectorAll("a")) {
        if (a.dataset.page === page) a.setAttribute("aria-current", "page");
        else a.removeAttribute("aria-current");
      }
    },
    title: titles.set,
    update(what) {
      if (what.has("link") || what.has("outages")) showBanner(store);
      if (what.has("link")) showLink(link, store);
      if (what.has("hello")) put(user, store.hello.user);
    },
  };
}

function showLink(link, store) {
  const { state } = store.link;
  if (state === "live") rebadge(link, "quiet", "well", "live");
  else if (state === "lost") rebadge(link, "bad", "bad", "no connection");
  else rebadge(link, "quiet", "wait", "connecting");
}

function showBanner(store) {
  const lines = [];
  if (store.link.state === "lost") {
    const why = store.link.text ? ` (${store.link.text.replace(/\.$/, "")})` : "";
    lines.push(`No connection to the console since ${clock(store.link.since)}${why} \u2013 trying again. What you see is as of then.`);
  } else {
    for (const outage of store.outages) lines.push(`Since ${clock(outage.since)}: ${outage.text || `${outage.what} is away`}`);
  }
  const banner = $("banner");
  banner.hidden = lines.length === 0;
  if (banner.dataset.shown === lines.join("\n")) return;
  banner.dataset.shown = lines.join("\n");
  banner.replaceChildren(...lines.map((line) => h("p", null, icon("bad"), h("span", null, line))));
}

function createTitles(store) {
  let page = "";
  const again = () => {
    let troubled = 0;
    for (const card of store.cards.values()) troubled += card.trouble > 0;
    const title = `${troubled ? `(${troubled}) ` : ""}${page ? `${page} \u00b7 ` : ""}Driftloop`;
    if (document.title !== title) document.title = title;
  };
  return {
    again,
    set(name) {
      page = name;
      again();
    },
  };
}

// Says new alarms to those who listen: politely, and many at once as a number.
function createSpeaker(store) {
  let known = null;
  let waiting = [];
  let timer = 0;
  const say = () => {
    timer = 0;
    if (!waiting.length) return;
    const [first] = waiting;
    put($("alarms"), waiting.length > 2 ? `${many(waiting.length, "new alarm")}, first of ${first}` : `New alarm: ${waiting.join("; ")}`);
    waiting = [];
    timer = setTimeout(say, SPEAK_MS);
  };
  return ({ changed, gone, whole }) => {
    const first = known === null;
    known ??= new Map();
    if (whole && !first) for (const name of gone) known.delete(name);
    for (const name of changed) {
      const alarms = store.cards.get(name)?.alarms ?? [];
      const before = known.get(name);
      if (!alarms.length && !before) continue;
      for (const alarm of alarms) {
        if (!first && !before?.has(alarm.id) && !alarm.silenced_until) waiting.push(`${name}: ${alarm.text}`);
      }
      known.set(name, new Set(alarms.map((alarm) => alarm.id)));
    }
    if (waiting.length && !timer) say();
  };
}

// First the other of the two, then the same as the system's, then the system's again.
function nextTheme(button) {
  const root = document.documentElement;
  const themes = matchMedia("(prefers-color-scheme: dark)").matches ? ["", "light", "dark"] : ["", "dark", "light"];
  const next = themes[(themes.indexOf(root.dataset.theme ?? "") + 1) % themes.length];
  if (next) root.dataset.theme = next;
  else delete root.dataset.theme;
  try {
    localStorage.setItem("driftloop-theme", next);
  } catch {
    // no storage: until the page is closed
  }
  showTheme(button);
}

function showTheme(button) {
  const theme = document.documentElement.dataset.theme ?? "";
  button.replaceChildren(icon(theme === "dark" ? "moon" : theme === "light" ? "sun" : "theme"));
  button.title = `Colours: ${THEME_NAMES[theme]} (t)`;
  button.setAttribute("aria-label", button.title);
}

function toggleWall() {
  const root = document.documentElement;
  const on = root.dataset.wall === undefined;
  if (on) root.dataset.wall = "";
  else delete root.dataset.wall;
  history.replaceState(null, "", `${location.pathname}${on ? "?wall" : ""}${location.hash}`);
  dispatchEvent(new Event("resize"));
}

function focusSearch() {
  document.querySelector('#page [type="search"]')?.focus();
}

function showHelp() {
  $("help").showModal();
}

function fillHelp() {
  $("help").append(
    h("h2", { id: "help-title" }, "Keys"),
    h("dl.keys", null, KEYS.map(([keys, what]) => [
      h("dt", null, keys.map((key) => h("kbd", null, key))), h("dd", null, what)])),
    h("form", { method: "dialog" }, h("button", null, "Close")),
  );
}
