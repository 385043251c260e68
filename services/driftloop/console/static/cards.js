// A card a model: champion, rates, the run in progress, its evidence, what became of earlier runs.

import { $, chip, fromTemplate, keep, make, parts, put } from "./dom.js";
import { showEvidence } from "./evidence.js";
import { count, moment, rate, span } from "./format.js";
import { operate, showVersions } from "./operate.js";

const TONES = { promoted: "good", rejected: "warn", rolled_back: "bad", failed: "bad" };
const SHOWN_METRICS = 4;

export function showCards(state) {
  keep($("cards"), state.models, (m) => m.name, create, (card, model) => update(card, model, state.time));
  $("empty").hidden = state.models.length > 0;
}

function create(model) {
  const card = fromTemplate("card");
  operate(card, model.name);
  return card;
}

function update(card, model, now) {
  const at = parts(card);
  put(at.name, model.name);
  put(at.champion, model.champion ? `version ${model.champion}` : "no champion yet");
  const since = model.since ? span(now - Date.parse(model.since) / 1000) : "";
  put(at.since, since && `champion for ${since}`);
  at.since.title = model.since;
  put(at.scored, rate(model.scored));
  put(at.outcomes, rate(model.outcomes));
  put(at.joined, count(model.joined));
  put(at.waiting, count(model.waiting));
  put(at.trained, model.train_rows ? count(model.train_rows) : "0");
  const metrics = Object.entries(model.metrics).slice(0, SHOWN_METRICS);
  put(at.metrics, metrics.length ? `on its holdout: ${metrics.map(metric).join(", ")}` : "");
  showRun(at, model, now);
  showEvidence(at.evidence, model.evidence);
  showRuns(at, model);
  showVersions(card, model);
}

function metric([name, value]) {
  return `${name.replaceAll("_", " ")} ${value === null ? "?" : Number(value.toPrecision(4))}`;
}

function showRun(at, model, now) {
  keep(at.steps, model.steps, (s) => s.name, (s) => make("li", "", s.name), (li, s) => {
    li.dataset.step = s.state;
  });
  const run = model.run;
  const trigger = run?.trigger.replace("_", " ");
  const took = run ? span(now - run.started) : "";
  const said = run ? `Version ${run.version}, ${trigger}, for ${took}: ${run.reason}` : "";
  put(at.run, said || "No run in progress.");
  at.run.classList.toggle("quiet", !run);
}

function showRuns(at, model) {
  put(at.count, model.runs_started ? `${count(model.runs_started)} so far` : "");
  at.none.hidden = model.runs.length > 0;
  keep(at.runs, model.runs, (run) => `${run.id}:${run.verdict}`, row, () => {});
}

function row(run) {
  const tr = make("tr");
  const verdict = make("td");
  verdict.append(chip(run.verdict.replace("_", " "), TONES[run.verdict]));
  const why = make("td", "why", run.outcome || run.reason);
  why.title = `${run.id}: ${run.reason}`;
  const took = run.finished ? `${moment(run.finished * 1000)}` : "";
  tr.append(
    make("td", "", `version ${run.version}`),
    make("td", "quiet", run.trigger.replace("_", " ")),
    verdict,
    why,
    make("td", "num quiet", took),
  );
  return tr;
}
