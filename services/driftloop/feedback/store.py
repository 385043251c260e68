"""The join's state, rebuilt from the log: its own last output says where to read from."""

from dataclasses import dataclass

import pyarrow.compute as pc

from driftloop.bus.bus import Bus
from driftloop.bus.log import rows_total
from driftloop.contracts import headers, subjects
from driftloop.contracts.batches import EVENT_TIME
from driftloop.contracts.events import DataAccumulated
from driftloop.contracts.stats import JoinStats
from driftloop.feedback.domain.join import Join
from driftloop.feedback.domain.waiting import Low
from driftloop.modelspec.spec import Spec


@dataclass(slots=True)
class ModelJoin:
    """The join of one model and where its output stands."""

    spec: Spec
    join: Join
    low: Low
    last_seq: int = 0
    total: int = 0
    data_time: int = 0

    @property
    def model(self) -> str:
        """The model's name."""
        return self.spec.name

    def start(self, stream: str) -> int:
        """The first sequence of an input that this join has to see."""
        return {"SCORED": self.low.scored, "LABELS": self.low.labels, "ROWS": self.low.refused}[
            stream
        ]

    def accumulated(self) -> DataAccumulated:
        """The newest mark of `triggers.new_data_rows` that the outcomes have passed."""
        mark = self.spec.triggers.new_data_rows
        rows = self.total // mark * mark
        return DataAccumulated(
            model=self.model, data_time=self.data_time, rows=rows, outcomes_seq=self.last_seq
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
            data_time=self.data_time,
        )


async def rebuild(bus: Bus) -> dict[str, ModelJoin]:
    """The joins of all models, knowing what was joined before and where to go on."""
    return {model: await _rebuild(bus, model) for model in await bus.specs.keys()}


async def _rebuild(bus: Bus, model: str) -> ModelJoin:
    spec = (await bus.spec(model)).spec
    subject = subjects.outcomes(model)
    last = await bus.log.last("OUTCOMES", subject)
    if last is None:
        return ModelJoin(spec, Join(spec), Low(1, 1, 1, 1))
    joined = ModelJoin(
        spec, Join(spec), Low.parse(last.headers[headers.LOW]), last.seq, rows_total(last)
    )
    async for message in bus.log.range("OUTCOMES", subject, joined.low.outcomes, last.seq):
        batch = message.batch()
        joined.join.restore(batch.column(0).to_pylist(), message.seq)
        newest = pc.max(batch.column(EVENT_TIME.name).cast("int64")).as_py()
        joined.data_time = max(joined.data_time, newest)
    if joined.total >= spec.triggers.new_data_rows:
        await bus.emit(joined.accumulated())
    return joined
