"""Signals that share one e-detector: learned from a reference, watched in blocks of rows."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from driftloop.contracts.alarms import Part, Summary
from driftloop.drift.domain.arrays import packed, unpacked
from driftloop.drift.domain.cells import CELLS, Cells, Floats, Matrix
from driftloop.drift.domain.change import Change as Change
from driftloop.drift.domain.change import Standing as Standing
from driftloop.drift.domain.history import ROWS, History
from driftloop.drift.domain.snapshot import GroupState
from driftloop.evidence.arrays import IntArray
from driftloop.evidence.changepoint import change_point
from driftloop.evidence.edetector import EDetector
from driftloop.evidence.residuals import RecursiveResiduals, Tails

BLOCK: Final = 16
"""Rows of a block: evidence is looked at after each."""
RESERVE: Final = 1.25
"""A fifth of the bound is kept back for what the theorem leaves out: variances that are estimated,
and rows that depend on more than their neighbours."""
SPREAD: Final = 0.25
"""Weight of how far apart values are, against 1 of where they are."""
NOTABLE: Final = 0.1
"""Share of the evidence from which on a signal has a part in an alarm."""
MOST_PARTS: Final = 8
AT_ONCE: Final = 256 * BLOCK
"""Rows looked at together at most."""
LATELY: Final = 1_024
"""Rows that a signal's present mean is of."""


class Signal(NamedTuple):
    """A sequence of values: its name, its kind of shift, and how its cells are learned."""

    name: str
    shift: str
    learn: Callable[[Matrix], Cells]
    directions: int
    """Most directions its cells have."""


class Signals:
    """Watches signals that come in the same rows, with a budget of false alarms of their own.

    `rows_per_alarm`: rows in which one false alarm is allowed. `reference` rows are learned from,
    at the beginning and, by a signal that changed, after an alarm; meanwhile it is not watched.
    """

    def __init__(
        self, signals: Sequence[Signal], reference: int, rows_per_alarm: float, *, only_up: bool
    ) -> None:
        self.signals = tuple(signals)
        ends = np.cumsum([0, *(s.directions for s in signals)])
        self._slots = [slice(*pair) for pair in pairwise(ends)]
        count = int(ends[-1])
        none = np.zeros(count)
        self._residuals = RecursiveResiduals(
            BLOCK, Tails(none, none.copy(), np.zeros(count, dtype=bool))
        )
        threshold = max(RESERVE * rows_per_alarm / BLOCK, 2.0)
        self._detector = EDetector(threshold, count, only_up=only_up)
        self._reference = -(-reference // BLOCK) * BLOCK
        self._learning: dict[int, list[Matrix]] = {at: [] for at in range(len(signals))}
        self._references: dict[int, Matrix] = {}
        """What each signal that is watched has learned its cells from."""
        self._cells: list[Cells | None] = [None] * len(signals)
        self._since = np.zeros(len(signals), dtype=np.int64)
        """Row from which on a signal's present cells are counted."""
        self._totals = np.zeros((len(signals), CELLS))
        self._history = History(len(signals))
        self._rest = np.empty((0, len(signals)), dtype=np.float32)
        self._done = 0
        """Rows that were looked at."""

    @property
    def evidence(self) -> float:
        """All evidence as a share of what makes an alarm."""
        return float(self._detector.evidence.sum())

    def standing(self) -> Iterator[Standing]:
        """Where each signal that is watched stands."""
        shares = self._detector.evidence
        for at, (signal, slot) in enumerate(zip(self.signals, self._slots, strict=True)):
            its = self._cells[at]
            if its is not None:
                start = max(int(self._since[at]), self._done - LATELY)
                lately = np.bincount(self._history.of(start, self._done)[:, at], minlength=CELLS)
                now = lately / max(int(lately.sum()), 1)
                yield Standing(
                    signal.name,
                    mean=its.about(0, now, now)[1],
                    evidence=float(shares[slot].sum()),
                    rows=self._done - int(self._since[at]),
                )

    def state(self) -> GroupState:
        """All that a group with the same signals needs to go on from here."""
        history, first = self._history, max(self._history.first, self._done - ROWS)
        return GroupState(
            names=tuple(signal.name for signal in self.signals),
            references={at: packed(rows) for at, rows in self._references.items()},
            newest={at: packed(its.newest) for at, its in enumerate(self._cells) if its},
            learning={
                at: packed(np.concatenate([np.empty(0, np.float32), *parts]))
                for at, parts in self._learning.items()
            },
            residuals=tuple(map(packed, self._residuals.state)),
            capital=packed(self._detector.capital),
            since=packed(self._since),
            totals=packed(self._totals),
            cells=packed(history.of(first, self._done)),
            places=packed(history.places[first - history.first : history.placed - history.first]),
            rest=packed(self._rest),
            done=self._done,
        )

    def restore(self, state: GroupState) -> None:
        """Go on from there; raises `ValueError` when the state is of other signals."""
        names = tuple(signal.name for signal in self.signals)
        if state.names != names:
            raise ValueError(f"signals are {state.names}; accepted: {names}")
        self._learning = {at: [unpacked(rows)] for at, rows in state.learning.items()}
        self._references = {at: unpacked(rows) for at, rows in state.references.items()}
        for at, reference in self._references.items():
            its = self._cells[at] = self.signals[at].learn(reference)
            its.remember(unpacked(state.newest[at]))
        self._residuals.restore(tuple(map(unpacked, state.residuals)))
        self._since, self._totals = unpacked(state.since), unpacked(state.totals)
        self._rest, self._done = unpacked(state.rest), state.done
        self._history.restore(state.done, unpacked(state.cells), unpacked(state.places))
        self._weigh()
        self._detector.capital[:] = unpacked(state.capital)

    def update(self, values: Matrix, seq: int, rows: IntArray, times: IntArray) -> Iterator[Change]:
        """Take in values (n, signals) of the rows `rows` of batch `seq`; yields what changed."""
        self._history.place(seq, rows, times)
        waiting = np.concatenate([self._rest, values]) if len(self._rest) else values
        at = 0
        while len(waiting) - at >= BLOCK:
            used, change = self._take(waiting[at : len(waiting) - (len(waiting) - at) % BLOCK])
            at += used
            if change is not None:
                yield change
        self._rest = np.array(waiting[at:], dtype=np.float32)

    def _take(self, values: Matrix) -> tuple[int, Change | None]:
        """Look at whole blocks, up to an alarm or a signal that has learned: rows, and what was."""
        learned = [sum(map(len, parts)) for parts in self._learning.values()]
        values = values[: self._reference - max(learned) if learned else AT_ONCE]
        if len(self._learning) == len(self.signals):
            alarm, used = None, len(values)
            self._history.keep(self._done, np.zeros(values.shape, dtype=np.uint8))
        else:
            alarm, used = self._watch(values)
        for at, parts in self._learning.items():
            parts.append(values[:used, at].copy())
        self._done += used
        change = self._alarm() if alarm is not None else None
        for at in [at for at, parts in self._learning.items() if self._learned(parts)]:
            self._begin(at)
        return used, change

    def _learned(self, parts: Sequence[Matrix]) -> bool:
        return sum(map(len, parts)) >= self._reference

    def _watch(self, values: Matrix) -> tuple[int | None, int]:
        """The block with an alarm, if there is one, and the rows up to its end."""
        blocks = len(values) // BLOCK
        columns = np.ascontiguousarray(values.T)
        cells = np.zeros(columns.shape, dtype=np.uint8)
        means = np.zeros((blocks, self._residuals.last.size))
        counts = np.zeros((blocks, len(self.signals), CELLS))
        first = np.repeat(np.arange(blocks) * CELLS, BLOCK)
        for at, (slot, its) in enumerate(zip(self._slots, self._cells, strict=True)):
            if its is None:
                continue
            column = columns[at]
            cells[at] = its.of(column)
            found = np.bincount(first + cells[at], minlength=blocks * CELLS)
            counts[:, at] = found.reshape(blocks, CELLS)
            made = its.means(counts[:, at], column.reshape(blocks, BLOCK))
            means[:, slot.start : slot.start + made.shape[1]] = made
        alarm = self._detector.play(self._residuals.ahead(means))
        used = blocks if alarm is None else alarm + 1
        self._residuals.learn(means[:used])
        self._totals += counts[:used].sum(axis=0)
        rows = used * BLOCK
        for at, its in enumerate(self._cells):
            if its is not None:
                its.took(cells[at, :rows], columns[at, :rows])
        self._history.keep(self._done, cells[:, :rows].T)
        return alarm, rows

    def _begin(self, at: int) -> None:
        """A signal has its reference: it is watched from here on."""
        reference = self._references[at] = np.concatenate(self._learning.pop(at))
        its = self._cells[at] = self.signals[at].learn(reference)
        cells = its.of(reference)
        blocks = len(reference) // BLOCK
        counts = np.zeros((blocks, CELLS))
        np.add.at(counts, (np.repeat(np.arange(blocks), BLOCK), cells), 1.0)
        means = its.means(counts, reference.reshape(blocks, BLOCK))
        slot = self._slots[at]
        self._residuals.begin(np.arange(slot.start, slot.start + means.shape[1]), its.tails, means)
        self._totals[at] = counts.sum(axis=0)
        self._since[at] = self._done - len(reference)
        start = max(int(self._since[at]), self._history.first)
        self._history.of(start, self._done)[:, at] = cells[start - self._done :]
        self._weigh()

    def _weigh(self) -> None:
        """Each signal has the same weight, divided over its directions."""
        weights = np.zeros(self._residuals.last.size)
        for at, (slot, its) in enumerate(zip(self._slots, self._cells, strict=True)):
            if its is not None and at not in self._learning:
                wanted = np.array([SPREAD if d.look == "spread" else 1.0 for d in its.directions])
                part = wanted / (wanted.sum() * len(self.signals))
                weights[slot.start : slot.start + len(part)] = part
        self._detector.weigh(weights)

    def _alarm(self) -> Change:
        """What changed; the signals that did learn anew, all evidence begins anew."""
        evidence = self._detector.evidence
        evidence = evidence / max(float(evidence.sum()), 1e-300)
        shares = np.array([float(evidence[slot].sum()) for slot in self._slots])
        leading = int(shares.argmax())
        since = self._when(leading, int(evidence[self._slots[leading]].argmax()))
        changed = [at for at in np.argsort(-shares, kind="stable") if shares[at] >= NOTABLE]
        changed = changed[:MOST_PARTS] or [leading]
        told = [self._told(int(at), evidence[self._slots[at]], since) for at in changed]
        change = Change(
            at=self._history.at(self._done - 1),
            since=self._history.at(since),
            rows_since=self._done - since,
            parts=tuple(part for part, _ in told),
            summaries=tuple(summary for _, summary in told),
        )
        self._detector.restart()
        for at in changed:
            self._learning[int(at)] = []
            self._cells[int(at)] = None
            del self._references[int(at)]
            self._since[int(at)] = self._done
        self._weigh()
        return change

    def _when(self, at: int, direction: int) -> int:
        """The row the change began with."""
        its = self._cells[at]
        assert its is not None
        start = max(int(self._since[at]), self._history.first)
        cells = self._history.of(start, self._done)[:, at]
        scores = its.scores(direction)[cells]
        known = float(self._totals[at] @ its.scores(direction))
        rows = float(self._totals[at].sum())
        since = 0
        for _ in range(3):  # the mean before is that of all rows without those since
            new = scores[since:] if since else scores[len(scores) :]
            mean = (known - float(new.sum())) / max(rows - len(new), 1.0)
            since = change_point(scores, mean).row
        return start + since

    def _told(self, at: int, evidence: Floats, since: int) -> tuple[Part, Summary]:
        its, signal = self._cells[at], self.signals[at]
        assert its is not None
        since = max(since, int(self._since[at]), self._history.first)
        new = np.bincount(self._history.of(since, self._done)[:, at], minlength=CELLS).astype(float)
        old = np.maximum(self._totals[at] - new, 0.0)
        before, after = (counts / max(float(counts.sum()), 1.0) for counts in (old, new))
        direction = int(evidence.argmax())
        names = its.directions[direction]
        mean_before, mean_after, strength = its.about(direction, before, after)
        part = Part(
            detector=names.name,
            shift=names.look if names.look in ("missing", "unseen") else signal.shift,
            feature="" if signal.shift != "covariate" else signal.name,
            share=round(float(evidence.sum()), 6),
            before=mean_before,
            after=mean_after,
            strength=strength,
        )
        return part, its.summary(signal.name, before, after)
