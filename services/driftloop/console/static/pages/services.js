// Services: whether each is well, what it takes, and how far its consumers are behind.

import { badge, empty, h, keep, put, rebadge, s, set } from "../parts/dom.js";
import { count, date, many, megabytes, moment, percent, span } from "../parts/format.js";
import { linePath } from "../parts/spark.js";

export const title = () => "Services";

const KEPT = 120; // samples a line shows
const FAR = 1_000; // messages behind that are worth a look

export function page(root, params, store) {
  const past = new Map(); // by service or consumer: its newest samples
  const word = h("h1.say");
  const mark = badge("quiet", "wait", "");
  mark.classList.add("say-mark");
  const flow = h("p.flow");
  const services = h("tbody");
  const lags = h("tbody");
  const nothing = h("div");
  const cards = h("div.services-grid", null,
    card("Services", ["Service", "State", "Version", "Up", "Restarts#", "CPU#", "", "Memory#", "", "Heard#"], services),
    card("Consumers", ["Service", "Stream", "Consumer", "Behind#", "", "Being worked on#", "Redelivered#"], lags));
  root.append(h("section.summary", { "aria-label": "Summary" }, h("div.say-line", null, mark, word), flow), nothing, cards);

  function remember(key, value) {
    const line = past.get(key) ?? [];
    line.push(value);
    if (line.length > KEPT) line.shift();
    past.set(key, line);
  }

  function take() {
    const consumers = consumersOf(store.services);
    const known = new Set();
    for (const service of store.services) {
      for (const what of ["cpu", "memory_mb"]) {
        known.add(`${service.name}:${what}`);
        if (service.heard !== null) remember(`${service.name}:${what}`, service[what]);
      }
    }
    for (const its of consumers) {
      known.add(its.key);
      remember(its.key, its.pending);
    }
    for (const key of past.keys()) if (!known.has(key)) past.delete(key);
  }

  function draw() {
    const all = store.services;
    const consumers = consumersOf(all);
    const bad = all.filter((its) => !its.ready);
    if (all.length) rebadge(mark, bad.length ? "bad" : "good", bad.length ? "bad" : "well", "");
    put(word, sentence(all, bad));
    put(flow, all.length ? figures(all, consumers) : "");
    cards.hidden = all.length === 0;
    nothing.hidden = all.length > 0;
    nothing.replaceChildren(...(all.length ? [] : [empty("No service was heard of yet", "Each says how it is every few seconds. Start them:", "driftloop up")]));
    keep(services, all, (its) => its.name, serviceRow, showService);
    keep(lags, consumers, (its) => its.key, lagRow, (row, its) => showLag(row, its, past));
  }

  function showService(row, its) {
    const cells = [...row.children];
    const heard = its.heard !== null;
    put(cells[0].firstChild, its.name);
    put(cells[0].lastChild, heard ? place(its) : "");
    const [mark, why] = cells[1].children;
    if (its.ready) rebadge(mark, "quiet", "well", "ready");
    else if (!heard) rebadge(mark, "quiet", "wait", "not heard of");
    else rebadge(mark, "bad", "bad", "not ready");
    put(why, its.ready || !heard ? "" : its.reason);
    put(cells[2], its.version);
    put(cells[3], heard && date(its.started) ? span(store.now() - date(its.started) / 1000) : "");
    set(cells[3], "title", heard ? `since ${moment(its.started)}` : null);
    put(cells[4], heard ? count(its.restarts) : "");
    cells[4].dataset.tone = its.restarts ? "warn" : "";
    put(cells[5], heard ? percent(its.cpu) : "");
    set(cells[5], "title", heard ? `of one core; ${count(its.cpu_seconds)} s since its start` : null);
    line(cells[6], past.get(`${its.name}:cpu`), 0);
    put(cells[7], heard ? megabytes(its.memory_mb) : "");
    line(cells[8], past.get(`${its.name}:memory_mb`), 0);
    put(cells[9], heard ? (its.heard < 2 ? "now" : `${span(its.heard)} ago`) : "never");
  }

  take();
  draw();
  const beat = setInterval(draw, 5_000);
  const off = store.on("services", take);
  return {
    update: (what) => { if (what.has("services")) draw(); },
    leave() {
      off();
      clearInterval(beat);
    },
  };
}

function place({ url, pid, instances }) {
  if (instances > 1) return `${many(instances, "instance")}, the newest at ${url}`;
  return [url, pid && `process ${pid}`].filter(Boolean).join(", ");
}

function card(title, heads, body) {
  return h("section.card", { "aria-label": title }, h("header", null, h("h2", null, title)),
    h("div.scroll", { tabindex: 0, role: "region", "aria-label": `Table of ${title.toLowerCase()}` }, h("table.table", null, h("thead", null, h("tr", null, heads.map(head))), body)));
}

function head(name) {
  const num = name.endsWith("#");
  return name ? h(`th${num ? ".num" : ""}`, { scope: "col" }, num ? name.slice(0, -1) : name) : h("td");
}

const spark = () => h("td.line", null, s("svg.spark", { viewBox: "0 0 100 20", preserveAspectRatio: "none", "aria-hidden": "true" }, s("path")));
const num = () => h("td.num");

function serviceRow() {
  return h("tr", null, h("th.name", { scope: "row" }, h("b.over"), h("span.under")),
    h("td", null, badge("quiet", "wait", ""), h("span.reason-text")), h("td"), h("td"), num(), num(), spark(), num(), spark(), num());
}

function lagRow() {
  return h("tr", null, h("th.name", { scope: "row" }), h("td"), h("td.mono"), num(), spark(), num(), num());
}

function showLag(row, its, past) {
  const cells = [...row.children];
  put(cells[0], its.service);
  put(cells[1], its.stream);
  put(cells[2], its.durable);
  put(cells[3], count(its.pending));
  cells[3].dataset.tone = its.pending >= FAR ? "warn" : "";
  line(cells[4], past.get(its.key), 0);
  put(cells[5], count(its.unacknowledged));
  put(cells[6], count(its.redelivered));
  cells[6].dataset.tone = its.redelivered ? "warn" : "";
}

// The samples as a line that stands on `low`.
function line(cell, values = [], low) {
  set(cell.firstChild.firstChild, "d", linePath(values, 100, 20, low));
}

const consumersOf = (services) =>
  services.flatMap((its) => its.lag.map((lag) => ({ ...lag, service: its.name, key: `${its.name}/${lag.stream}/${lag.durable}` })));

function sentence(all, bad) {
  if (!all.length) return "No service yet";
  if (!bad.length) return `All ${count(all.length)} services are ready`;
  return `${bad.map((its) => its.name).slice(0, 3).join(", ")}${bad.length > 3 ? ` and ${bad.length - 3} more` : ""} ${bad.length === 1 ? "is" : "are"} not ready`;
}

function figures(all, consumers) {
  const sum = (some, what) => some.reduce((total, its) => total + its[what], 0);
  return [
    `${percent(sum(all, "cpu"))} of a core`, megabytes(sum(all, "memory_mb")), many(sum(all, "restarts"), "restart"),
    `${many(sum(consumers, "pending"), "message")} behind`, `${count(sum(consumers, "redelivered"))} redelivered`,
  ].join(" \u00b7 ");
}
