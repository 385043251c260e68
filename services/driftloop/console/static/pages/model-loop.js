// The loop of a model: where its run is, what happened when, and how it does on slices and labels.

import { get, part } from "../parts/api.js";
import { loopPicture } from "../parts/charts-loop.js";
import { badge, h } from "../parts/dom.js";
import { count, dataTime, duration, loss, many, percent, signed, span, words } from "../parts/format.js";
import { modelHash, runHash, to } from "../parts/go.js";
import { facts, section, table } from "../parts/section.js";
import { runsTable } from "./model-runs.js";
import { timeline } from "./model-timeline.js";

export function tab(its) {
  const picture = loopPicture();
  const loop = h("section.card", { "aria-label": "The loop", hidden: true }, picture.element);
  const times = timeline(its);
  const runs = h("div.section-body", null, waiting());
  const labels = h("div.section-body", null, waiting());
  const slices = sliceSection(its);
  const recent = h(
    "section.card",
    { "aria-label": "Newest runs" },
    h("header", null, h("h2", null, "Newest runs"), h("a.push", { href: modelHash(its.name, "runs") }, "All runs")),
    runs,
  );
  const join = h("section.card", { "aria-label": "Labels and estimate" }, h("header", null, h("h2", null, "Labels")), labels);
  const element = h(
    "div.stack",
    null,
    loop,
    times.element,
    h("div.wide-narrow.even", null, recent, h("div.stack", null, slices.element, join)),
  );
  let newest = null;
  const timer = setInterval(() => newest && showLoop(its, picture, newest), 1_000);
  return {
    element,
    model(model) {
      newest = model;
      loop.hidden = false;
      showLoop(its, picture, model);
      runs.replaceChildren(runsTable(model.runs.slice(0, 8), its.store));
      labels.replaceChildren(...labelFacts(model));
      times.model(model);
    },
    said: (told) => times.said(told),
    leave() {
      clearInterval(timer);
      times.leave();
      slices.stop();
    },
  };
}

const waiting = () => h("p.loading", { role: "status" }, "Loading");

function showLoop(its, picture, model) {
  const { card } = model;
  const running = model.runs.find((run) => run.stage) ?? null;
  const steps = withApproval(model, running).map((step) => ({ ...step, text: stepText(model, running, step) }));
  const live = {
    state: running ? "done" : card.champion ? "now" : "open",
    text: card.champion ? `v${card.champion} answers` : "no champion yet",
  };
  picture.update({ steps, live });
  picture.middle.replaceChildren(...(running ? during(its, model, running) : between(model)));
}

// The API's steps, with the stage of a second person's approval between shadow and promotion.
function withApproval(model, running) {
  if (model.steps.some((step) => step.name === "approval")) return model.steps;
  const asked = running?.stage === "approval";
  return model.steps.flatMap((step) => {
    if (step.name !== "promote") return [step];
    const state = asked ? "now" : model.spec?.approval ? step.state : "skipped";
    return [{ name: "approval", state }, asked ? { ...step, state: "open" } : step];
  });
}

function stepText(model, running, step) {
  if (!running) return step.name === "approval" && step.state === "skipped" ? "not asked for" : "";
  const version = model.versions.find((its) => its.version === running.version);
  const shadow = model.shadows.find((its) => its.run === running.id);
  if (step.name === "trigger") return words(running.trigger);
  if (step.name === "train" && version) return `${count(version.train_rows)} rows, ${duration(version.seconds)}`;
  if (step.name === "gate" && version && step.state === "done")
    return version.gates_failed.length ? `${version.gates_failed.length} failed` : "all passed";
  if (step.name === "shadow" && shadow && shadow.role === "challenger") return many(shadow.rows, "paired row");
  if (step.name === "probation" && shadow && shadow.role === "probation") return many(shadow.rows, "paired row");
  if (step.name === "approval" && step.state === "skipped") return "not asked for";
  if (step.name === "approval" && model.card.waiting) return `v${model.card.waiting} waits`;
  return "";
}

function during(its, model, run) {
  const seconds = its.store.now() - Date.parse(run.started) / 1000;
  const lines = [
    h(
      "p.loop-title",
      null,
      h("a", { href: runHash(run.id) }, `Version ${run.version}`),
      ` in ${words(run.stage)} for ${span(seconds)}`,
    ),
    h("p.loop-reason", { title: run.reason }, run.reason),
  ];
  const shadow = model.shadows.find((found) => found.run === run.id && found.rows > 0);
  if (shadow) {
    lines.push(
      h(
        "p.quiet",
        null,
        h("a", { href: modelHash(its.name, "evidence") }, "Evidence"),
        ` ${signed(shadow.lower)} to ${signed(shadow.upper)}, margin ${signed(shadow.margin)}`,
      ),
    );
  }
  return lines;
}

function between(model) {
  const last = model.runs[0];
  const paused = model.card.paused;
  const lines = [h("p.loop-title", null, paused ? `Paused by ${paused.by}` : "No run in progress")];
  if (paused) lines.push(h("p.loop-reason", null, paused.reason));
  else if (model.spec) lines.push(h("p.loop-reason.quiet", null, `Starts on: ${model.spec.triggers.join(", ")}.`));
  if (last)
    lines.push(
      h("p.quiet", null, "Last: ", h("a", { href: runHash(last.id) }, `version ${last.version} ${words(last.verdict)}`)),
    );
  return lines;
}

function labelFacts(model) {
  const { labels, estimate } = model;
  const lines = [];
  if (labels) {
    lines.push(
      facts([
        ["labelled", `${count(labels.joined)} rows`],
        ["wait for a label", `${count(labels.waiting_predictions)} predictions`],
        ["wait for a row", `${count(labels.waiting_labels)} labels`],
        ["newest row", dataTime(labels.data_time)],
      ]),
    );
    lines.push(h("p", null, h("a", { href: to("data", { model: model.card.name }) }, "Label delay, quarantine and accounting")));
  } else lines.push(h("p.quiet", null, "No label has been joined yet."));
  if (estimate) {
    const text = estimate.void
      ? `No estimate of the loss of rows without a label: ${estimate.void}`
      : `Expected of ${count(estimate.rows)} rows whose labels are still to come: ${words(estimate.loss)} ${loss(estimate.estimate)} (${loss(estimate.lower)} to ${loss(estimate.upper)}).`;
    lines.push(h("p.estimate", estimate.void ? { data: { tone: "quiet" } } : null, text));
  }
  return lines;
}

function sliceSection(its) {
  const ask = (signal) => get(`/api/models/${part(its.name)}/slices`, { signal });
  return section(its.store, { title: "Slices", ask, every: 20, show: showSlices });
}

function showSlices(body, answer, note) {
  note(
    answer.loss === null
      ? ""
      : `${words(answer.loss_name)} of v${answer.version} on ${many(answer.rows, "newest labelled row")}: ${loss(answer.loss)}`,
  );
  if (!answer.slices.length) {
    body.replaceChildren(
      h("p.quiet", null, "The spec names no slices. Add ", h("code", null, "[[slices]]"), " to see where the model errs."),
    );
    return;
  }
  const rows = [...answer.slices]
    .sort((a, b) => (b.loss ?? -1) - (a.loss ?? -1))
    .map((slice) => [
      [slice.name, "nowrap"],
      [slice.loss === null ? "no labels" : loss(slice.loss), "num"],
      [worse(slice, answer), "num"],
      [loss(slice.gate_loss), "num"],
      [count(slice.rows), "num"],
    ]);
  body.replaceChildren(
    table(["slice", ["loss", "num"], ["against all", "num"], ["at the gate", "num"], ["rows", "num"]], rows, "Slices"),
  );
}

function worse(slice, { loss: all }) {
  if (slice.loss === null || !all) return "";
  const more = slice.loss / all - 1;
  const sign = more < 0 ? "\u2212" : "+";
  const text = `${sign}${percent(Math.abs(more))}`;
  return more > 0.1 ? badge("warn", "up", text) : text;
}
