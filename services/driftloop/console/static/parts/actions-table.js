// The actions of an operator: what each is called, what it will do, and when it makes sense.

import { many } from "./format.js";
import { runHash } from "./go.js";

const run = (card) => (card.run ? ` The run in progress (${card.run.id}, ${card.run.stage}) ends as superseded.` : "");

// Each: label and icon of its button, title and text of its dialog, the word on the button that does it.
export const MODEL = {
  approve: {
    label: "Approve",
    icon: "well",
    kind: "main",
    title: ({ card }) => `Approve of version ${card.waiting} of ${card.name}`,
    what: ({ card }) => [
      `Version ${card.waiting} becomes the champion and answers from then on.`,
      "Whoever asked for this version cannot approve of it.",
    ],
    fields: ["waiting"],
    confirm: "Approve and promote",
  },
  deny: {
    label: "Deny",
    icon: "close",
    title: ({ card }) => `Deny version ${card.waiting} of ${card.name}`,
    what: ({ card }) => [`Version ${card.waiting} is not promoted and its run ends. The champion stays.`],
    fields: ["waiting"],
    confirm: "Deny",
  },
  retrain: {
    label: "Retrain",
    icon: "run",
    title: ({ card }) => `Retrain ${card.name}`,
    what: ({ card }) => [
      "A run begins now: a candidate is trained on the newest labelled rows and judged by the gates and beside the champion.",
      "It is promoted only if the evidence says so.",
      card.paused ? "The loop is paused; an operator's own run begins all the same." : "",
    ],
    confirm: "Start a run",
    told: started,
  },
  promote: {
    label: "Promote",
    icon: "up",
    title: ({ card }) => `Promote a version of ${card.name}`,
    what: ({ card }) => [
      `The version takes the place of version ${card.champion || "none"} at once, without evidence and without probation.${run(card)}`,
      "If the spec asks for approval, it waits for a second person.",
    ],
    fields: ["version"],
    confirm: "Promote",
    told: started,
  },
  challenge: {
    label: "Challenge",
    icon: "play",
    title: ({ card }) => `Put a challenger beside the champion of ${card.name}`,
    what: ({ card }) => [
      `The version answers beside version ${card.champion}, unseen by callers. It is promoted if it is better on labelled rows, and retires if it is not.`,
    ],
    fields: ["version"],
    confirm: "Start the challenge",
  },
  rollback: {
    label: "Roll back",
    icon: "back",
    title: ({ card }) => `Roll back ${card.name}`,
    what: ({ card }) => [
      `Version ${card.champion} stops answering at once, and an earlier champion takes its place back. It needs no approval.${run(card)}`,
    ],
    fields: ["back"],
    confirm: "Roll back",
    kind: "danger",
  },
  pause: {
    label: "Pause",
    icon: "pause",
    title: ({ card }) => `Pause the loop of ${card.name}`,
    what: ({ card }) => [
      "Alarms, new data and the schedule start no run until somebody resumes the loop; each is declined with your reason.",
      card.run ? `The run in progress (${card.run.stage}) goes on, and so does probation.` : "The champion goes on answering.",
    ],
    confirm: "Pause the loop",
  },
  resume: {
    label: "Resume",
    icon: "play",
    kind: "main",
    title: ({ card }) => `Resume the loop of ${card.name}`,
    what: ({ card }) => [
      card.paused ? `Paused by ${card.paused.by}: ${card.paused.reason}` : "",
      "Triggers start runs again. What was declined meanwhile does not come back by itself: ask for a retrain if need be.",
    ],
    confirm: "Resume the loop",
  },
  silence: {
    label: "Silence",
    icon: "bell",
    title: ({ card }) => `Silence alarms of ${card.name}`,
    what: () => [
      "The alarms are not shown as trouble and nobody is notified of them until then.",
      "The loop still reacts to them: to hold that back, pause it.",
    ],
    fields: ["detector", "length"],
    confirm: "Silence",
  },
  unsilence: {
    label: "End it",
    icon: "bell",
    title: ({ card }) => `End a silence of ${card.name}`,
    what: ({ detector }) => [`${detector ? `Alarms of ${detector}` : "All alarms"} are shown as trouble again, and who is to be notified of them is.`],
    confirm: "End the silence",
    path: ({ model }) => `/api/models/${encodeURIComponent(model)}/silence`,
    body: ({ detector }) => ({ detector, seconds: 0 }),
  },
  spec: { label: "Edit spec", icon: "edit", title: ({ card }) => `Spec of ${card.name}`, what: () => [] },
};

export const DATA = {
  requeue: {
    label: "Replay",
    icon: "run",
    title: ({ model }) => `Send quarantined rows of ${model} again`,
    what: ({ containing, rows }) => [
      `${rows ? many(rows, "row") : "All rows"}${containing ? ` whose reason has "${containing}" in it` : ""}: as they were received, under their own ids, and checked against the spec of now. Rows that are valid already are left alone.`,
      "Labels that were given up with them are sent again too. This takes up to a minute.",
    ],
    confirm: "Send them again",
    path: () => "/api/data/quarantine/replay",
    body: ({ model, containing }) => ({ model, containing: containing ?? "" }),
    told: requeued,
  },
  "dead-replay": {
    label: "Replay",
    icon: "run",
    title: ({ seq }) => `Give dead letter ${seq} back`,
    what: ({ service }) => [
      `${service ? `"${service}"` : "The consumer that could not use it"} gets the message again, and nobody else. If it can use it now, the letter is gone; if not, it stays.`,
    ],
    confirm: "Give it back",
    path: ({ seq }) => `/api/data/dead/${seq}/replay`,
  },
  "dead-drop": {
    label: "Drop",
    icon: "close",
    kind: "danger",
    title: ({ seq }) => `Drop dead letter ${seq} for good`,
    what: () => ["What is in it will not be worked on, ever. The audit trail keeps who dropped it and why; the accounting still counts its rows."],
    confirm: "Drop it for good",
    path: ({ seq }) => `/api/data/dead/${seq}/drop`,
  },
};

// The actions that make sense for a model as it is now, the most pressing first.
export function offered(card) {
  return [
    card.waiting && "approve",
    card.waiting && "deny",
    card.paused && "resume",
    !card.run && "retrain",
    card.champion && "rollback",
    card.champion && "promote",
    card.champion && "challenge",
    "silence",
    !card.paused && "pause",
    "spec",
  ].filter(Boolean);
}

function started(done) {
  return { text: done.text, link: done.run ? { href: runHash(done.run), text: "To the run" } : null };
}

function requeued(done) {
  const joined = done.labels ? ` ${many(done.labels, "label")} sent again, ${done.joined} joined.` : "";
  const gone = done.gone ? ` ${many(done.gone, "row is", "rows are")} no longer in the log.` : "";
  const late = done.all_checked && done.all_scored ? "" : " Not all of it was worked on yet: ask again later.";
  return { text: `${many(done.rows, "row")} sent again: ${done.valid} valid now, ${done.quarantined} not.${joined}${gone}${late}` };
}
