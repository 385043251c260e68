"""How good the answers were: served against the first model frozen, and against trivial answers."""

from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.contracts.batches import matrix_of
from driftloop.evidence import brier_score, log_loss, roc_auc
from driftloop.local.backtest.trivial import last_label

Floats = NDArray[np.float64]
NEW_YORK_MS = 5 * 3_600_000
"""New York is five hours behind UTC in winter; no flight leaves in the hour that summer adds."""


class Quality:
    """Collects every outcome; `frozen` is the first model, which goes on answering."""

    def __init__(self) -> None:
        self._frozen: ort.InferenceSession | None = None
        self._majority = 0.5
        self._times: list[NDArray[np.int64]] = []
        self._answers: dict[str, list[Floats]] = {"served": [], "frozen": []}
        self._labels: list[NDArray[np.int64]] = []
        self._arrivals: list[NDArray[np.int64]] = []
        self.rows = 0

    def freeze(self, model: bytes, majority: float) -> None:
        """The first model, and the share of late flights in its training rows."""
        self._frozen = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._majority = majority

    def add(self, outcomes: pa.RecordBatch) -> None:
        """Take in a batch of outcomes; rows from before the first model count for nobody."""
        labels = outcomes.column("label").to_numpy().astype(np.int64)
        answered = outcomes.column("answer").is_valid().to_numpy(zero_copy_only=False)
        at = np.flatnonzero(answered)
        if self._frozen is None or not len(at):
            return
        features = matrix_of(outcomes.column("features"))[at]
        frozen = self._frozen.run(None, {self._frozen.get_inputs()[0].name: features})[-1]
        times = outcomes.column("event_time").cast(pa.int64()).to_numpy()
        self._times.append(times[at])
        self._labels.append(labels[at])
        self._answers["served"].append(
            matrix_of(outcomes.column("answer"))[at, 1].astype(np.float64)
        )
        self._answers["frozen"].append(np.asarray(frozen)[:, 1].astype(np.float64))
        self._arrivals.append(outcomes.column("label_time").cast(pa.int64()).to_numpy()[at])
        self.rows += len(at)

    def lately(self, rows: int = 5_000) -> tuple[float, float]:
        """Log loss of served and frozen over about the last `rows` rows."""
        if not self._labels:
            return (0.0, 0.0)
        take, have = 0, 0
        while take < len(self._labels) and have < rows:
            take += 1
            have += len(self._labels[-take])
        labels = np.concatenate(self._labels[-take:])
        served, frozen = (
            log_loss(_pairs(np.concatenate(self._answers[name][-take:])), labels)
            for name in ("served", "frozen")
        )
        return served, frozen

    def summary(self) -> dict[str, Any]:
        """The whole year and each month: log loss, Brier score and AUC."""
        if not self._labels:
            return {"served": None, "frozen": None, "majority": None, "months": []}
        labels, times = np.concatenate(self._labels), np.concatenate(self._times)
        answers = {name: np.concatenate(parts) for name, parts in self._answers.items()}
        answers["majority"] = np.full(len(labels), self._majority)
        answers["last_label"] = last_label(
            times, np.concatenate(self._arrivals), labels.astype(np.float64), 2
        )[:, 1]
        return {
            **{name: _scores(values, labels) for name, values in answers.items()},
            "months": _months(times, labels, answers),
        }

    def series(self, rows: int = 4_000) -> tuple[list[int], list[float], list[float]]:
        """Event times (milliseconds) and log loss of served and frozen, in blocks of `rows`."""
        labels, times = np.concatenate(self._labels), np.concatenate(self._times)
        when: list[int] = []
        losses: tuple[list[float], list[float]] = ([], [])
        parts = {n: np.concatenate(self._answers[n]) for n in ("served", "frozen")}
        for start in range(0, len(labels) - rows // 2, rows):
            block = slice(start, start + rows)
            when.append(int(np.median(times[block])))
            for into, name in zip(losses, ("served", "frozen"), strict=True):
                into.append(log_loss(_pairs(parts[name][block]), labels[block]))
        return when, *losses


def _pairs(late: Floats) -> Floats:
    return np.column_stack([1.0 - late, late])


def _scores(late: Floats, labels: NDArray[np.int64]) -> dict[str, float]:
    pairs = _pairs(late)
    constant = float(np.ptp(late)) == 0.0
    return {
        "log_loss": log_loss(pairs, labels),
        "brier": brier_score(pairs, labels),
        "auc": 0.5 if constant else roc_auc(pairs, labels),
    }


def _months(
    times: NDArray[np.int64], labels: NDArray[np.int64], answers: dict[str, Floats]
) -> list[dict[str, Any]]:
    months = (times - NEW_YORK_MS).astype("datetime64[ms]").astype("datetime64[M]")
    return [
        {
            "month": str(month),
            "rows": int((months == month).sum()),
            **{
                name: _scores(answers[name][months == month], labels[months == month])
                for name in answers
            },
        }
        for month in np.unique(months)
    ]
