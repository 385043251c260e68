// One run of the loop: why it began, each stage with its evidence, what led to what, and the raw events.

import { get, part } from "../parts/api.js";
import { loopPicture } from "../parts/charts-loop.js";
import { badge, empty, h, icon, keep, put } from "../parts/dom.js";
import { clock, count, dataTime, duration, many, moment, span, words } from "../parts/format.js";
import { eventHash, modelHash, to } from "../parts/go.js";
import { facts, section, seldom } from "../parts/section.js";
import { money, versionHash } from "./versions-card.js";
import { verdict } from "./model-runs.js";
import { chain } from "./run-chain.js";

const STATES = {
  done: ["good", "well", "done"],
  now: ["accent", "run", "now"],
  failed: ["bad", "bad", "ended here"],
  open: ["quiet", "none", "not begun"],
  skipped: ["quiet", "none", "skipped"],
};

export const title = (params) => `Run ${params.parts[0] ?? ""}`;
export const stream = () => ({ events: 1 });

export function page(root, params, store) {
  const id = params.parts[0] ?? "";
  const own = { id, store, picture: loopPicture(), newest: null };
  const head = h("div.model-head");
  const why = h("section.card", { "aria-label": "Why it started", hidden: true });
  const stages = section(store, {
    title: "Stages",
    ask: (signal) => get(`/api/runs/${part(id)}`, { signal }).catch(unlessNone),
    show: (body, answer) => (answer.none ? showNone(own, body, answer.none) : show(own, body, answer)),
    every: 10,
  });
  const led = h("section.card", { "aria-label": "What led to what", hidden: true });
  const raw = h("section.card", { "aria-label": "Raw events", hidden: true });
  head.append(h("h1.clip", null, `Run ${id}`));
  Object.assign(own, { head, why, led, raw });
  root.append(head, why, stages.element, led, raw);
  const again = seldom(stages.again, 1);
  const off = store.on("said", (told) => {
    const known = new Set(own.newest?.facts.map((fact) => fact.id) ?? []);
    if (told.some((fact) => fact.correlation === id || known.has(fact.causation))) again();
  });
  const timer = setInterval(() => own.newest && !own.newest.run.finished && tick(own), 1_000);
  return {
    leave() {
      off();
      clearInterval(timer);
      again.stop();
      stages.stop();
    },
  };
}

// That there is no such run is an answer, too: one may come of an alarm yet.
function unlessNone(problem) {
  if (problem.status !== 404) throw problem;
  return { none: problem.detail };
}

function showNone(own, body, why) {
  if (own.newest) return;
  const link = h("a", { href: to("events", { correlation: own.id }) }, "All events with this id");
  const none = empty("No run", why.replace(/^run: /, ""));
  none.append(link);
  body.replaceChildren(none);
}

function show(own, body, answer) {
  if (!own.newest) body.replaceChildren();
  own.newest = answer;
  showHead(own, answer);
  showWhy(own, answer);
  if (!own.list) {
    own.list = h("ol.stages");
    body.append(h("div.run-loop", null, own.picture.element), own.list);
  }
  showLoop(own, answer);
  showStages(own, answer);
  own.led.hidden = own.raw.hidden = false;
  const now = JSON.stringify(answer.chain);
  if (own.chained !== now) {
    own.chained = now;
    own.led.replaceChildren(
      h("header", null, h("h2", null, "What led to what"), h("p.quiet", null, many(answer.chain.length, "event"))),
      chain(answer.chain),
    );
  }
  showRaw(own, answer);
}

function tick(own) {
  showHead(own, own.newest);
  showStages(own, own.newest);
}

function showHead({ head, store }, { run, cost }) {
  const seconds = (run.finished ? Date.parse(run.finished) / 1000 : store.now()) - Date.parse(run.started) / 1000;
  const figure = (name, value, note = "") =>
    h("div.figure", null, h("dt", null, name), h("dd", null, value), h("dd.quiet.clip", null, note));
  head.replaceChildren(
    h("div.row", null, h("h1.clip", null, `Run ${run.id}`), verdict(run), h("a", { href: modelHash(run.model) }, run.model)),
    h(
      "dl.figures",
      null,
      figure("Version", h("a", { href: versionHash(run.model, run.version) }, `v${run.version}`), "reserved when the run began"),
      figure("Trigger", words(run.trigger)),
      figure("Began", moment(run.started), `${span(store.now() - Date.parse(run.started) / 1000)} ago`),
      figure(
        run.finished ? "Took" : "So far",
        duration(seconds),
        run.finished ? `until ${moment(run.finished)}` : words(run.stage),
      ),
      figure("Cost", duration(cost.cpu_seconds), money(cost) || "CPU"),
    ),
  );
}

function showWhy({ why }, { run, chain: links, cause, since_time: since, asked_by: by }) {
  const first = links.find((link) => link.id === cause) ?? links.find((link) => link.depth === 0 && link.kind !== "retrain.requested");
  const outcome = run.verdict ? h("p", null, h("b", null, `${words(run.verdict)}: `), run.outcome) : null;
  why.replaceChildren(
    h("header", null, h("h2", null, "Why it started")),
    h("p.why", null, run.reason),
    facts([
      [
        "answers",
        first
          ? h("span", null, h("a", { href: eventHash(cause) }, first.kind), ` ${first.text}`)
          : cause && h("code", null, cause),
      ],
      ["asked for by", by],
      ["rows since", since ? `${dataTime(since)}, the estimated change` : ""],
      ["ended", outcome],
    ]),
  );
  why.hidden = false;
}

function showLoop({ picture }, { run, stages }) {
  const text = (stage) =>
    stage.seconds !== null && stage.state !== "open" && stage.name !== "trigger"
      ? duration(stage.seconds)
      : stage.state === "skipped"
        ? "skipped"
        : "";
  const steps = stages.map((stage) => ({ name: stage.name, state: stage.state, text: text(stage) }));
  const stays = run.verdict === "rolled_back" ? "the old champion is back" : run.verdict ? "the champion stays" : "";
  const live = run.verdict === "promoted" ? `v${run.version} answers` : stays;
  picture.update({ steps, live: { state: run.verdict ? "done" : "open", text: live } });
  const said = run.verdict ? words(run.verdict) : words(run.stage);
  picture.middle.replaceChildren(
    h("p.loop-title", null, `Version ${run.version}: ${said}`),
    h("p.loop-reason", null, run.outcome || run.reason),
  );
}

// Each stage with a bar of its time: where it lies in the run, and how long it was.
function showStages(own, { run, stages }) {
  const now = own.store.now();
  const from = Date.parse(run.started) / 1000;
  const until = Math.max(from + 1, run.finished ? Date.parse(run.finished) / 1000 : now);
  keep(
    own.list,
    stages,
    (stage) => stage.name,
    createStage,
    (li, stage) => {
      const [head, ground, text] = li.children;
      const [tone, sign, word] = STATES[stage.state] ?? STATES.open;
      if (head.dataset.state !== stage.state) {
        head.dataset.state = stage.state;
        head.replaceChildren(h("strong", null, stage.name), badge(tone, sign, word), h("span.num.push"));
      }
      const begun = stage.started ? Date.parse(stage.started) / 1000 : null;
      const seconds = begun !== null && stage.state === "now" ? now - begun : stage.seconds;
      put(head.lastElementChild, seconds === null || stage.state === "open" ? "" : duration(seconds));
      const bar = ground.firstElementChild;
      bar.hidden = begun === null;
      bar.dataset.tone = stage.state;
      if (begun !== null) {
        const left = Math.max(0, Math.min(99.5, (100 * (begun - from)) / (until - from)));
        bar.style.left = `${left}%`;
        bar.style.width = `${Math.max(0.5, Math.min(100 - left, (100 * (seconds ?? 0)) / (until - from)))}%`;
      }
      const told = `${stage.text}|${stage.state}|${stage.facts.join()}`;
      if (text.dataset.told !== told) {
        text.dataset.told = told;
        text.replaceChildren(
          h("span", null, stage.text),
          ...evidenceLink(run, stage),
          ...stage.facts.map((id) => h("a.fact-link", { href: eventHash(id), title: id }, id.split(":")[0])),
        );
      }
    },
  );
}

const evidenceLink = (run, { name, state }) =>
  state === "now" && (name === "shadow" || name === "probation")
    ? [h("a.fact-link", { href: modelHash(run.model, "evidence") }, "evidence now")]
    : [];

const createStage = () => h("li.stage", null, h("div.row"), h("div.stage-ground", null, h("i.stage-bar")), h("p.stage-text"));

function showRaw(own, { facts: all }) {
  if (!own.rows) {
    own.rows = h("div.folds");
    own.count = h("p.quiet");
    own.raw.append(h("header", null, h("h2", null, "Raw events"), own.count), own.rows);
  }
  put(own.count, `${count(all.length)} in the order of the log`);
  keep(
    own.rows,
    all,
    (fact) => fact.id,
    (fact) => {
      const body = h("pre.code", { tabindex: 0, "aria-label": `Body of ${fact.id}` });
      const details = h(
        "details.fold",
        null,
        h(
          "summary.row",
          null,
          icon("right"),
          h("span.mono.quiet", null, count(fact.seq)),
          h("strong", null, fact.kind),
          h("span.clip.fold-text", null, fact.text),
          h("span.quiet.push", null, clock(fact.time)),
        ),
        body,
      );
      details.addEventListener(
        "toggle",
        () => details.open && !body.childElementCount && body.append(h("code", null, JSON.stringify(fact, null, 2))),
      );
      return details;
    },
  );
}
