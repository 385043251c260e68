"""The loop over a world: rows are scored, outcomes judged, and every decision taken in its order.

Within a slice of event time come first the rows and what drift finds in them, then each batch of
outcomes: the mark of new data, drift of the loss, and the live gates. What a decision leads to is
done before the next batch: training and offline gates take no event time.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.contracts.batches import (
    LABEL,
    LABEL_TIME,
    SHADOW_PREFIX,
    VERSION,
    Matrix,
    matrix_column,
    null_answers,
)
from driftloop.contracts.events import AnyEvent, CandidateTrained, RetrainRequested
from driftloop.feedback.store import ModelJoin
from driftloop.inference.domain import scored
from driftloop.local.backtest.drift import Watch
from driftloop.local.backtest.keeper import Keeper
from driftloop.local.backtest.models import Answers, Fits
from driftloop.local.backtest.watch import Stopwatch
from driftloop.local.backtest.workshop import Workshop
from driftloop.local.backtest.world import Slice, World
from driftloop.modelspec.spec import Spec
from driftloop.validation.domain.live import LiveGate

Versions = NDArray[np.int32]
Tell = Callable[[int], None]
"""Told how many rows have been played."""
COLUMNS: Final = ("event_id", "event_time", "key", "features")


class Played(NamedTuple):
    """What the loop did: its events, the answers it served (rows, width) and by which version.

    `versions` is 0 for rows without an answer. `fitted` are the outcomes there were at each fit,
    `models` the ONNX bytes of each version, and `first` the answers of the first champion.
    """

    events: list[AnyEvent]
    served: Matrix
    versions: Versions
    fitted: list[int]
    models: dict[int, bytes]
    first: Answers | None


class Loop:
    """One policy in one world."""

    def __init__(self, spec: Spec, world: World, fits: Fits, watch: Stopwatch) -> None:
        rows = world.valid.num_rows
        self._spec, self._world, self._fits = spec, world, fits
        self._keeper = Keeper(spec)
        self._join = ModelJoin.new(self._keeper.registered)
        self._served = np.full((rows, spec.width), np.nan, dtype=np.float32)
        self._versions = np.zeros(rows, dtype=np.int32)
        self._shadowed: dict[int, Matrix] = {}
        self._workshop = Workshop(spec, world, fits, watch, self._served)
        self._answers: dict[int, Answers] = {}
        self._first: Answers | None = None
        self._drift: Watch | None = None
        self._watched = (0, 0)
        self._number = 0
        self._served_to = 0
        self._gates: dict[tuple[str, str, int], LiveGate] = {}
        self._events: list[AnyEvent] = []

    def run(self, tell: Tell) -> Played:
        """Play the whole world."""
        told = 0
        for number, part in enumerate(self._world.slices):
            self._number = number
            self._slice(part)
            if part.scored and part.scored[-1].stop - told >= 4_096:
                told = part.scored[-1].stop
                tell(told)
        tell(self._world.valid.num_rows)
        return Played(
            self._events,
            self._served,
            self._versions,
            self._workshop.fitted,
            self._workshop.models,
            self._first,
        )

    def _slice(self, part: Slice) -> None:
        self._keeper.clock = part.clock
        for rows in part.scored:
            self._score(rows)
        for rows in part.outcomes:
            self._judge(rows)
        if part.outcomes:
            self._follow(self._keeper.data_clock(self._join.data_time))
        self._follow(self._keeper.schedule())

    def _score(self, rows: slice) -> None:
        """A batch of rows gets the answers of champion and shadows, and drift looks at it."""
        self._keeper.scored_seq += 1
        state = self._keeper.state
        if not state.champion:
            return
        self._serve(rows)
        for shadow in state.shadows:
            its = self._answers_of(shadow.version, rows.start).of(rows)
            if not scored.unusable(its, len(its), self._spec.width):
                self._shadowed[shadow.version][rows] = its
        assert self._drift is not None
        self._hear(self._drift.in_rows(self._number, rows))

    def _serve(self, rows: slice) -> None:
        """The champion's answers to these rows; another one serves anew what was served ahead."""
        rows = slice(max(rows.start, self._served_to), rows.stop)
        if rows.start >= rows.stop:
            return
        self._served_to = rows.stop
        champion = self._keeper.state.champion
        self._served[rows] = self._answers_of(champion, rows.start).of(rows)
        self._versions[rows] = champion

    def _scored(self, rows: slice) -> pa.RecordBatch:
        """Rows as the log has them, with the champion's answers."""
        valid = self._world.valid.slice(rows.start, rows.stop - rows.start)
        champion = self._keeper.state.champion
        return scored.scored(valid, self._spec.width, champion, self._served[rows], ())

    def _answers_of(self, version: int, at: int) -> Answers:
        """The answers of a version that is asked from row `at` on."""
        made = self._answers.get(version)
        if made is None:
            model = self._workshop.models[version]
            made = self._fits.answers(model, self._spec, self._world.features)
            self._answers[version] = made
            if self._first is None:
                self._first = made  # it is compared with to the end
                made.begin(slice(at, len(self._served)), self._fits.background)
        return made

    def _judge(self, rows: slice) -> None:
        """A batch of outcomes is in the log: who listens to it hears it."""
        self._keeper.outcomes_seq += 1
        seq, join = self._keeper.outcomes_seq, self._join
        self._workshop.add(seq, rows)
        before, join.total, join.last_seq = join.total, rows.stop, seq
        join.data_time = max(join.data_time, int(self._world.outcome_times[rows].max()))
        gates, drift = list(self._gates.items()), self._drift
        if join.mark(join.total) > join.mark(before):
            self._hear([join.accumulated()])
        if drift is not None:
            self._hear(drift.in_outcomes(self._number, rows))
        batch = self._outcomes(rows) if gates else None
        for key, gate in gates:
            gate.update(batch)
            concluded = gate.concluded()
            if concluded is not None:
                del self._gates[key]
                self._hear([concluded])

    def _outcomes(self, rows: slice) -> pa.RecordBatch:
        return outcomes_of(self._world, rows, self._served, self._versions, self._shadowed)

    def _hear(self, events: Iterable[AnyEvent]) -> None:
        """Facts from outside of the registry, and all that follows from them."""
        for event in events:
            self._events.append(event)
            self._follow(self._keeper.hear(event))

    def _follow(self, said: list[AnyEvent]) -> None:
        """What the registry said is done by whom it concerns, until there is no more to do."""
        waiting = deque(said)
        while waiting:
            event = waiting.popleft()
            self._events.append(event)
            for answer in self._done(event):
                waiting += self._told(answer)
        if said:
            self._line_up()

    def _told(self, answer: AnyEvent) -> list[AnyEvent]:
        """Trainer and judge speak; what the registry says to it, and to what follows."""
        self._events.append(answer)
        said = self._keeper.hear(answer)
        if isinstance(answer, CandidateTrained):
            said = said + self._told(self._workshop.judge(answer))
        return said

    def _done(self, event: AnyEvent) -> Iterable[AnyEvent]:
        return self._workshop.train(event) if isinstance(event, RetrainRequested) else ()

    def _line_up(self) -> None:
        """Champion, shadows, monitor and gates as the registry's state has them."""
        state = self._keeper.state
        watched = (state.champion, state.champion_since_scored)
        if state.champion and watched != self._watched:
            self._watched, self._served_to = watched, 0
            self._drift = Watch(
                self._spec,
                self._world,
                state.champion,
                scored=self._scored,
                outcomes=self._outcomes,
                ahead=self._serve,
            )
        wanted = {(s.run, s.role, s.version): s for s in state.shadows}
        for key in self._gates.keys() - wanted.keys():
            del self._gates[key]
        for key, shadow in wanted.items():
            if key not in self._gates:
                self._gates[key] = LiveGate(self._spec, shadow)
                self._shadowed[shadow.version] = np.full_like(self._served, np.nan)
        answering = {state.champion, *(s.version for s in state.shadows)}
        for version in self._answers.keys() - answering:
            del self._answers[version]
        for version in self._shadowed.keys() - answering:
            del self._shadowed[version]


def outcomes_of(
    world: World, rows: slice, served: Matrix, versions: Versions, shadows: Mapping[int, Matrix]
) -> pa.RecordBatch:
    """Outcomes as the log has them: with the answers that were given, and who gave them.

    The answers are of all valid rows, shape (rows, width), NaN where there is none; a version of 0
    is none.
    """
    at = world.row[rows]
    given = world.outcomes.slice(rows.start, len(at))
    columns = dict(zip(given.schema.names, given.columns, strict=True))
    none = versions[at] == 0
    made = {name: columns[name] for name in COLUMNS}
    made[VERSION.name] = pa.array(versions[at], mask=none if none.any() else None)
    made["answer"] = _column(served[at])
    for shadow, answers in shadows.items():
        made[f"{SHADOW_PREFIX}{shadow}"] = _column(answers[at])
    made[LABEL.name], made[LABEL_TIME.name] = columns[LABEL.name], columns[LABEL_TIME.name]
    return pa.RecordBatch.from_pydict(made)


def _column(answers: Matrix) -> pa.Array:
    """Answers (rows, width) as a column; null where there is none."""
    there = ~np.isnan(answers).any(axis=1)
    if there.all():
        return matrix_column(answers)
    if not there.any():
        return null_answers(*answers.shape)
    flat = pa.array(np.ascontiguousarray(answers).reshape(-1))
    mask = pa.array(~there)
    return pa.FixedSizeListArray.from_arrays(flat, answers.shape[1], mask=mask)
