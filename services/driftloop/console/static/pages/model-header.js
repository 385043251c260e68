// The head of a model's page: its name, how it is, what may be done, and its numbers.

import { actionButtons, button } from "../parts/actions.js";
import { trendline } from "../parts/charts-small.js";
import { badge, h, icon, keep, put, rebadge, set } from "../parts/dom.js";
import { clocks, count, dataTime, loss, many, millis, moment, percent, rate, span, words } from "../parts/format.js";
import { eventHash, runHash } from "../parts/go.js";

const DRIFT = { calm: ["good", "well"], suspected: ["warn", "warn"], alarm: ["bad", "bad"] };
const SUMS = { closed: ["good", "well"], open: ["bad", "bad"], unknown: ["quiet", "none"] };

const FEW = 2; // alarms that are shown at once
const FIGURES = ["champion", "rate", "p99", "loss", "drift", "accounting", "run"];
const NAMES = {
  champion: "Champion",
  rate: "Scored",
  p99: "p99 of requests",
  loss: "Live loss",
  drift: "Drift",
  accounting: "Accounting",
  run: "Run",
};

export function header(its) {
  const state = badge("quiet", "wait", "loading");
  const trouble = h("p.model-trouble", { hidden: true });
  const buttons = actionButtons({ name: its.name }, { scopes: [] });
  buttons.classList.add("push");
  const gone = h("p.gone", { hidden: true, role: "status" }, icon("warn"), h("span"));
  const alarms = h("ul.model-alarms", { "aria-label": "Alarms that stand" });
  const more = h("button.plain-link.model-more", { type: "button", hidden: true });
  const silences = h("ul.model-silences", { "aria-label": "Silences" });
  const at = {};
  const trend = trendline("Live loss", { width: 88, height: 22 });
  const figures = FIGURES.map((key) => {
    at[key] = { value: h("dd"), note: h("dd.quiet.clip") };
    return h("div.figure", { data: { figure: key } }, h("dt", null, NAMES[key]), at[key].value, at[key].note);
  });
  at.drift.badge = badge("quiet", "none", "");
  at.accounting.badge = badge("quiet", "none", "");
  at.drift.value.append(at.drift.badge);
  at.accounting.value.append(at.accounting.badge);
  at.loss.text = h("span");
  at.loss.value.append(at.loss.text, trend.element);
  const numbers = h("dl.figures", { hidden: true }, figures);
  const element = h(
    "div.model-head",
    null,
    h("div.row", null, h("h1.clip", null, its.name), state, buttons),
    trouble,
    gone,
    h("div", { hidden: true }, alarms, more),
    silences,
    numbers,
  );
  const head = { its, at, state, trouble, gone, alarms, more, silences, trend, buttons, numbers };
  more.addEventListener("click", () => {
    alarms.dataset.all = alarms.dataset.all === "yes" ? "no" : "yes";
    showAlarms(head, head.shown);
  });
  const timer = setInterval(() => head.shown && showCard(head, head.shown), 5_000);
  return {
    element,
    card: (card) => card && showCard(head, card),
    model: (model) => showModel(head, model),
    fail: (problem) => showProblem(head, problem),
    leave: () => clearInterval(timer),
  };
}

function showModel(head, model) {
  head.gone.hidden = true;
  head.model = model;
  showCard(head, head.its.store.cards.get(head.its.name) ?? model.card);
}

function showProblem({ gone, shown, state }, problem) {
  put(gone.lastElementChild, problem.message);
  gone.hidden = problem.status === 404 || problem.status === 0; // the page, or the banner, says that itself
  if (!shown) rebadge(state, "quiet", "none", "not known");
}

function showCard(head, card) {
  const { at, its, trend } = head;
  head.shown = card;
  head.numbers.hidden = false;
  head.buttons.show(card, its.store.hello);
  showState(head, card);
  const now = its.store.now();
  put(at.champion.value, card.champion ? `v${card.champion}` : "none yet");
  put(
    at.champion.note,
    card.champion_since ? `for ${span(now - Date.parse(card.champion_since) / 1000)}, since ${moment(card.champion_since)}` : "",
  );
  put(at.rate.value, `${rate(card.rate)} /s`);
  const labels = head.model?.labels;
  put(at.rate.note, labels ? `${count(labels.joined)} labelled so far` : "rows a second");
  put(at.p99.value, millis(card.p99_ms));
  put(at.p99.note, card.p99_ms === null ? "no requests lately" : "newest 5 minutes");
  put(at.loss.text, loss(card.loss));
  put(at.loss.note, words(card.loss_name));
  trend.update(card.loss_trend);
  const [tone, sign] = DRIFT[card.drift] ?? DRIFT.calm;
  rebadge(at.drift.badge, tone, sign, card.drift);
  put(
    at.drift.note,
    card.drift === "alarm"
      ? many(card.alarms.length, "alarm stands", "alarms stand")
      : `${percent(Math.min(1, card.drift_share))} of an alarm`,
  );
  const [sumTone, sumSign] = SUMS[card.accounting] ?? SUMS.unknown;
  rebadge(at.accounting.badge, sumTone, sumSign, card.accounting === "unknown" ? "not added up" : card.accounting);
  const age = card.audited ? `added up ${span(now - Date.parse(card.audited) / 1000)} ago` : "";
  put(at.accounting.note, card.missing ? `${count(card.missing)} rows missing, ${age}` : age);
  set(at.accounting.note, "title", card.accounting === "closed" ? "Every row and label was found then" : null);
  showRun(at.run, card, now);
  showAlarms(head, card);
  showSilences(head, card);
}

function showState({ state, trouble }, card) {
  if (card.paused) rebadge(state, "warn", "pause", `loop paused by ${card.paused.by}`);
  else if (card.tone === "bad") rebadge(state, "bad", "bad", "trouble");
  else if (card.trouble) rebadge(state, "warn", "warn", "needs a look");
  else rebadge(state, "good", "well", "well");
  const said = card.trouble_text || (card.paused ? `Paused: ${card.paused.reason}` : "");
  put(trouble, said);
  trouble.hidden = !said;
}

function showRun(at, card, now) {
  if (!card.run) {
    put(at.value, "none");
    put(at.note, card.waiting ? `v${card.waiting} waits for approval` : "waiting for a trigger");
    return;
  }
  const text = words(card.run.stage);
  if (at.value.firstChild?.href !== new URL(runHash(card.run.id), location.href).href || at.value.textContent !== text) {
    at.value.replaceChildren(h("a", { href: runHash(card.run.id) }, text));
  }
  put(at.note, `v${card.run.version}, ${words(card.run.trigger)}, for ${span(now - Date.parse(card.run.started) / 1000)}`);
}

function showAlarms({ alarms: list, more, its: { store } }, card) {
  list.parentElement.hidden = card.alarms.length === 0;
  const hidden = card.alarms.length - FEW;
  more.hidden = hidden <= 0;
  put(more, hidden <= 0 ? "" : list.dataset.all === "yes" ? "Fewer alarms" : many(hidden, "older alarm"));
  keep(
    list,
    card.alarms,
    (alarm) => alarm.id,
    (alarm) => alarmItem(store, card, alarm),
    (li, alarm) => {
      const [picture, link, note] = li.children;
      picture.classList.toggle("silent", Boolean(alarm.silenced_until));
      put(link, alarm.text || `${alarm.kind} ${alarm.detector}`);
      const silent = alarm.silenced_until ? `, silenced until ${moment(alarm.silenced_until)}` : "";
      const since = alarm.since_time ? `, change at ${dataTime(alarm.since_time)}` : "";
      put(note, `${clocks(alarm.time, alarm.data_time)}${since}${silent}`);
    },
  );
}

function alarmItem(store, card, alarm) {
  const options = () => ({ card: store.cards.get(card.name) ?? card, hello: store.hello, detector: alarm.detector });
  const silence = h("span.operate", null, button("silence", card.name, options));
  return h("li.model-alarm", null, icon("bell"), h("a", { href: eventHash(alarm.id) }), h("span.quiet"), silence);
}

function showSilences({ silences: list, its: { store } }, card) {
  list.hidden = !card.silences?.length;
  keep(
    list,
    card.silences ?? [],
    (its) => its.detector,
    ({ detector }) => {
      const end = button("unsilence", card.name, () => ({ card, hello: store.hello, detector }));
      return h("li.model-silence", null, icon("bell"), h("span"), h("span.operate", null, end));
    },
    (li, its) => {
      const whose = its.detector ? `Alarms of ${its.detector}` : "All alarms";
      put(li.children[1], `${whose} are silenced until ${moment(its.until)}, by ${its.by}: ${its.reason}`);
    },
  );
}
