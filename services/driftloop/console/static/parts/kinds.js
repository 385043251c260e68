// How each kind of event looks: a picture and a tone beside its name.

import { badge, rebadge } from "./dom.js";

const LOOKS = {
  "drift.detected": ["warn", "bell"],
  "performance.degraded": ["bad", "bell"],
  "labels.shifted": ["warn", "bell"],
  "training.failed": ["bad", "bad"],
  "candidate.approved": ["good", "well"],
  "candidate.rejected": ["warn", "close"],
  "retrain.requested": ["accent", "run"],
  "shadow.started": ["accent", "run"],
  "shadow.concluded": ["accent", "well"],
  "model.promoted": ["good", "up"],
  "model.rolled_back": ["bad", "back"],
  "model.refused": ["bad", "bad"],
  "integrity.refused": ["bad", "bad"],
  "approval.requested": ["warn", "person"],
  "approval.given": ["accent", "person"],
  "operator.requested": ["accent", "person"],
};

// [tone, icon] of a kind.
export const look = (kind) => LOOKS[kind] ?? ["quiet", "dot"];

export const kindBadge = (kind) => badge(...look(kind), kind);
export const showKind = (element, kind) => rebadge(element, ...look(kind), kind);
