"""The join's state, rebuilt from the log: its own last output says where to read from."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from driftloop.bus.bus import Bus
from driftloop.bus.log import rows_total
from driftloop.bus.messages import event_message
from driftloop.contracts import headers, subjects
from driftloop.contracts.batches import EVENT_TIME
from driftloop.contracts.errors import Reject
from driftloop.contracts.events import DataAccumulated
from driftloop.contracts.headers import Origin
from driftloop.contracts.stats import JoinStats
from driftloop.feedback.domain.join import Join
from driftloop.feedback.domain.waiting import BEGINNING, Low, Said
from driftloop.modelspec.spec import Registered, Spec

REMEMBERED = 4_096
"""Messages of outcomes before those that a rebuild needs: what is sent again long after it was
joined is known after a restart, too, as far as `join.max_rows` and these go back.
"""

AT_ONCE = 16
"""Models rebuilt at a time."""


@dataclass(slots=True)
class ModelJoin:
    """The join of one model and where its output stands."""

    registered: Registered
    join: Join
    low: Low = BEGINNING
    """From where on the logs are heard."""
    read: Low = BEGINNING
    """What was read before a restart: up to here, messages are heard for the second time."""
    last_seq: int = 0
    last_given_up: int = 0
    last_mark: int = 0
    """Sequence of the last `data.accumulated`."""
    total: int = 0
    data_time: int = 0
    counted: tuple[int, int] = (0, 0)
    """Duplicates and expired predictions of the join that the metrics have."""

    @classmethod
    def new(cls, registered: Registered) -> "ModelJoin":
        """The join of a model that has said nothing yet."""
        return cls(registered, Join(registered.spec))

    def adopt(self, registered: Registered) -> None:
        """Go on with another revision of the spec."""
        if registered.revision != self.registered.revision:
            self.registered = registered
            self.join.adopt(registered.spec)

    @property
    def spec(self) -> Spec:
        """The model's spec."""
        return self.registered.spec

    @property
    def model(self) -> str:
        """The model's name."""
        return self.spec.name

    def said(self, stream: str, seq: int) -> Said:
        """What had been said when this message of an input was heard for the first time."""
        if seq < self.read.of(stream):
            return Said(self.low.outcomes, self.low.given_up)
        return self._said_now

    def restore_given_up(self, labels: Sequence[tuple[str, str | None]], read: Low) -> None:
        """These ids and labels were given up when the logs had been read up to `read`."""
        self.join.restore_given_up(labels, read.labels)
        self.read = Low(*map(max, self.read, read))

    def heard(self, read_to: dict[str, int]) -> Low:
        """Up to where this join has heard the logs since it began, and what was said by then."""
        inputs = {s: max(at, self.low.of(s)) for s, at in read_to.items()}
        again = any(at < self.read.of(s) for s, at in inputs.items())
        said = Said(self.low.outcomes, self.low.given_up) if again else self._said_now
        return Low.at(inputs, said)

    def read_up_to(self, read_to: dict[str, int]) -> Low:
        """Up to where the logs were ever read."""
        inputs = {s: max(at, self.read.of(s)) for s, at in read_to.items()}
        return Low.at(inputs, self._said_now)

    @property
    def _said_now(self) -> Said:
        return Said(self.last_seq, self.last_given_up)

    def mark(self, total: int) -> int:
        """The newest mark that so many outcomes have passed; 0 is none.

        Marks are `training.min_rows`, from which on there may be a first model, and the multiples
        of `triggers.new_data_rows`.
        """
        every, first = self.spec.triggers.new_data_rows, self.spec.training.min_rows
        return max(total // every * every, first if total >= first else 0)

    def accumulated(self) -> DataAccumulated:
        """The newest mark that the outcomes have passed."""
        return DataAccumulated(
            model=self.model,
            data_time=self.data_time,
            rows=self.mark(self.total),
            outcomes_seq=self.last_seq,
        )

    def stats(self, read_to: dict[str, int]) -> JoinStats:
        """Where the join stands now."""
        return JoinStats(
            about=self.model,
            outcomes_total=self.total,
            waiting_predictions=self.join.waiting_predictions,
            waiting_labels=self.join.waiting_labels,
            scored_seq=read_to["SCORED"] - 1,
            labels_seq=read_to["LABELS"] - 1,
            rows_seq=read_to["ROWS"] - 1,
            data_time=self.data_time,
        )


async def rebuild(bus: Bus, ours: Callable[[str], bool]) -> dict[str, ModelJoin]:
    """The joins of those models that are `ours`, knowing what was joined before and where to go
    on.
    """
    free = asyncio.Semaphore(AT_ONCE)

    async def one(model: str) -> ModelJoin:
        async with free:
            return await _rebuild(bus, model)

    models = [model for model in await bus.specs.keys() if ours(model)]
    return dict(zip(models, await asyncio.gather(*map(one, models)), strict=True))


async def _rebuild(bus: Bus, model: str) -> ModelJoin:
    joined = ModelJoin.new(await bus.spec(model))
    subject = subjects.outcomes(model)
    last = await bus.log.last("OUTCOMES", subject)
    if last is not None:
        joined.low = Low.parse(last.headers[headers.LOW])
        joined.read = Low.parse(last.headers[headers.READ])
        joined.last_seq, joined.total = last.seq, rows_total(last)
        first = max(1, joined.low.outcomes - REMEMBERED)
        async for message in bus.log.range("OUTCOMES", subject, first, last.seq):
            batch = message.batch()
            joined.join.restore(batch.column(0).to_pylist(), message.seq)
            newest = pc.max(batch.column(EVENT_TIME.name).cast("int64")).as_py()
            joined.data_time = max(joined.data_time, newest)
            await asyncio.sleep(0)  # the lease is renewed, however much there is
    await _restore_given_up(bus, joined)
    await _restore_mark(bus, joined)
    return joined


async def _restore_mark(bus: Bus, joined: ModelJoin) -> None:
    """Say the newest mark that the outcomes have passed, unless that was done."""
    last = await bus.log.last("EVENTS", subjects.event(joined.model, DataAccumulated.kind))
    try:
        said = last.event() if last is not None else None
    except Reject:  # nobody of ours said that
        said = None
    joined.last_mark = last.seq if last is not None else 0
    mark = joined.accumulated()
    if mark.rows > (said.rows if isinstance(said, DataAccumulated) else 0):
        message = event_message(mark, source=bus.service, origin=Origin())
        joined.last_mark = await bus.publish_next(message, joined.last_mark)


async def _restore_given_up(bus: Bus, joined: ModelJoin) -> None:
    """Labels that were given up are not given up again: each is counted once."""
    subject = subjects.dead(bus.service, joined.model)
    last = await bus.log.last("DEAD", subject)
    if last is None:
        return
    async for message in bus.log.range("DEAD", subject, joined.low.given_up, last.seq):
        if headers.READ in message.headers:
            ids, labels, _ = (column.to_pylist() for column in message.batch().columns)
            read = Low.parse(message.headers[headers.READ])
            joined.restore_given_up(list(zip(ids, labels, strict=True)), read)
    joined.last_given_up = last.seq
