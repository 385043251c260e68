// The columns of the overview: what each cell shows of a card, and what it is sorted by.

import { badge, h, put, rebadge, s, set } from "../parts/dom.js";
import { NONE, count, date, loss, millis, moment, percent, rate, span } from "../parts/format.js";
import { modelHash } from "../parts/go.js";
import { linePath, trend } from "../parts/spark.js";

const STAGES = ["training", "gating", "shadowing", "approval", "probation"];

export const ORDERS = {
  trouble: (card) => card.trouble,
  name: (card) => card.name,
  champion: (card) => (card.champion_since ? -date(card.champion_since) : null),
  rate: (card) => card.rate,
  p99: (card) => card.p99_ms,
  loss: (card) => card.loss,
  drift: (card) => card.drift_share + (card.drift === "alarm" ? 2 : card.drift === "suspected" ? 1 : 0),
  run: (card) => (card.run ? STAGES.indexOf(card.run.stage) : null),
  accounting: (card) => (card.accounting === "unknown" ? null : card.missing),
};

const two = (cell) => cell.append(h("span.over"), h("span.under"));
const said = (cell, over, under) => {
  put(cell.firstChild, over);
  put(cell.lastChild, under);
};

// The columns; `store` is asked for the time.
export function columns(store) {
  const age = (time) => (date(time) ? span(store.now() - date(time) / 1000) : "");
  return [
    { key: "trouble", name: "State", sort: true, create: (cell) => cell.append(badge("quiet", "well", "")), show: state },
    { key: "name", name: "Model", sort: true, down: false, create: model, show: showModel },
    {
      key: "champion", name: "Champion", hint: "The version that answers, and since when", sort: true, create: two,
      show: (cell, card) => {
        said(cell, card.champion ? `v${card.champion}` : "none yet", age(card.champion_since));
        set(cell, "title", card.champion_since && `champion since ${moment(card.champion_since)}`);
      },
    },
    { key: "rate", name: "Rows/s", hint: "Scored rows a second", num: true, sort: true, show: (cell, card) => put(cell, rate(card.rate)) },
    { key: "p99", name: "p99", hint: "Of requests in the newest 5 minutes", num: true, sort: true, show: (cell, card) => put(cell, millis(card.p99_ms)) },
    { key: "loss", name: "Live loss", hint: "Mean loss of the champion's newest labelled rows, and its course", sort: true, create: losses, show: showLoss },
    { key: "drift", name: "Drift, alarms", hint: "Alarms that stand; the bar is the largest share, of any detector, of what makes one", sort: true, create: drift, show: showDrift },
    { key: "run", name: "Run", hint: "The run in progress and its stage", sort: true, create: run, show: (cell, card) => showRun(cell, card, age) },
    {
      key: "accounting", name: "Accounting", hint: "Whether every row that came in is accounted for", sort: true,
      create: (cell) => cell.append(badge("quiet", "none", ""), h("span.under")), show: (cell, card) => accounting(cell, card, age),
    },
    {
      key: "why", name: "What is wrong", show: (cell, card) => {
        put(cell, card.trouble_text);
        set(cell, "title", card.alarms.length ? card.alarms.map((its) => its.text).join("\n") : card.trouble_text || null);
      },
    },
  ];
}

function state(cell, card) {
  const tone = card.tone;
  const mark = cell.firstChild;
  if (tone === "bad") rebadge(mark, "bad", "bad", "trouble");
  else if (tone === "warn" && !card.champion) rebadge(mark, "warn", "wait", "new");
  else if (tone === "warn") rebadge(mark, "warn", "warn", "look");
  else rebadge(mark, "quiet", "well", "well");
}

function model(cell) {
  cell.append(h("a.over", { tabindex: -1 }), h("span.under"));
}

function showModel(cell, card) {
  said(cell, card.name, card.task);
  set(cell.firstChild, "href", modelHash(card.name));
  set(cell.firstChild, "title", card.name);
}

function losses(cell) {
  const path = s("path");
  cell.append(h("span.loss-now"), h("span.loss-trend"), s("svg.spark", { viewBox: "0 0 100 20", preserveAspectRatio: "none", "aria-hidden": "true" }, path));
}

function showLoss(cell, card) {
  const [now, way, spark] = cell.children;
  const course = trend(card.loss_trend);
  put(now, loss(card.loss));
  put(way, course.sign);
  set(way, "title", course.text);
  set(cell, "title", card.loss === null ? "no labelled rows yet" : `${card.loss_name}: ${course.text}`);
  set(spark.firstChild, "d", linePath(card.loss_trend, 100, 20));
}

function drift(cell) {
  cell.append(badge("quiet", "none", ""), h("span.meter", { "aria-hidden": "true" }, h("i")));
}

// [tone, icon, text] of what stands.
function alarmsOf({ alarms, drift }) {
  const loud = alarms.filter((alarm) => !alarm.silenced_until).length;
  if (loud > 1) return ["bad", "bell", `${loud} alarms`];
  if (loud || (drift === "alarm" && !alarms.length)) return ["bad", "bell", "alarm"];
  if (alarms.length) return ["quiet", "bell", "silenced"];
  return drift === "suspected" ? ["warn", "warn", "suspected"] : ["quiet", "well", "calm"];
}

function showDrift(cell, card) {
  const told = alarmsOf(card);
  rebadge(cell.firstChild, ...told);
  const share = card.drift === "alarm" ? 1 : Math.max(0, Math.min(1, card.drift_share));
  cell.lastChild.firstChild.style.transform = `scaleX(${share.toFixed(3)})`;
  cell.lastChild.dataset.tone = told[0];
  set(cell, "title", `${percent(card.drift_share)} of what makes an alarm`);
}

function run(cell) {
  cell.append(badge("quiet", "none", ""), h("span.pips", { "aria-hidden": "true" }, STAGES.map(() => h("i"))));
}

function showRun(cell, card, age) {
  const [mark, pips] = cell.children;
  const at = card.run ? STAGES.indexOf(card.run.stage) : -1;
  if (card.waiting) rebadge(mark, "warn", "person", `v${card.waiting} to approve`);
  else if (card.paused) rebadge(mark, "warn", "pause", `paused by ${card.paused.by.replace(/^token /, "")}`);
  else if (card.run) rebadge(mark, "accent", "run", `${card.run.stage}, ${age(card.run.started)}`);
  else rebadge(mark, "quiet", "none", NONE);
  mark.firstChild.toggleAttribute("hidden", !card.run && !card.waiting && !card.paused);
  pips.hidden = !card.run;
  [...pips.children].forEach((pip, number) => { pip.dataset.step = number < at ? "done" : number === at ? "now" : "open"; });
  const why = card.paused ? `paused since ${moment(card.paused.since)}: ${card.paused.reason}` : "";
  set(cell, "title", card.run ? `${card.run.id} for version ${card.run.version}, by ${card.run.trigger}, since ${moment(card.run.started)}` : why || null);
}

function accounting(cell, card, age) {
  put(cell.lastChild, card.audited ? `${age(card.audited)} ago` : "");
  set(cell, "title", card.audited ? `added up at ${moment(card.audited)}` : null);
  if (card.accounting === "closed") rebadge(cell.firstChild, "quiet", "well", "closed");
  else if (card.accounting === "open") rebadge(cell.firstChild, "bad", "bad", `${count(card.missing)} missing`);
  else rebadge(cell.firstChild, "quiet", "wait", "not yet");
}
