"""One reader for all models: each gets its messages once and in order, from where it wants them."""

import asyncio
import random
from collections.abc import AsyncIterator

import pyarrow as pa
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered, Outgoing, batch_message
from driftloop.contracts import subjects
from driftloop.drift.feed import AT_ONCE, Feed
from tests.support.flows import eventually

MODELS, EACH = 40, 30
NAMES = [f"m{at}" for at in range(MODELS)]


def message(model: str, number: int) -> Outgoing:
    batch = pa.record_batch({"number": [number]})
    subject, msg_id = subjects.scored(model), f"{model}:{number}"
    return batch_message(subject, batch, kind="scored", source="test", msg_id=msg_id)


class Heard:
    """What came to one model's reader, and its task."""

    def __init__(self, feed: Feed, model: str, start: int) -> None:
        self.numbers: list[int] = []
        self.over = asyncio.Event()
        reading = feed.read(subjects.scored(model), start, self._hear, self.over)
        self.task = asyncio.create_task(reading)

    async def _hear(self, message: Delivered) -> None:
        self.numbers.append(message.batch().column("number")[0].as_py())
        if self.numbers[-1] == -1:
            raise ValueError("a bug")


@pytest.fixture
async def feed(bus: Bus) -> AsyncIterator[Feed]:
    """A feed of SCORED that runs."""
    made = Feed(bus, "SCORED", "scored.*.*")
    running = asyncio.create_task(made.run())
    yield made
    bus.stopping.set()
    await running


async def test_each_model_is_read_once_and_in_order_whenever_it_joins(bus: Bus, feed: Feed) -> None:
    """Rows are written meanwhile, and there are few consumers."""
    draw = random.Random(7)
    order = [(number, name) for number in range(EACH) for name in NAMES]
    heard: dict[str, Heard] = {}
    skipped: dict[str, int] = {}
    most = 0
    joining = draw.sample(NAMES, MODELS)
    for at, (number, name) in enumerate(order):
        await bus.publish([message(name, number)])
        if at % (len(order) // MODELS) == 0 and joining:
            joins = joining.pop()
            # Every other one begins with what comes next, as after a promotion.
            start = 1 if len(joining) % 2 else await bus.log.last_seq("SCORED") + 1
            before = [n for n, other in order[: at + 1] if other == joins]
            skipped[joins] = len(before) if start > 1 else 0
            heard[joins] = Heard(feed, joins, start)
        if at % 100 == 0:
            most = max(most, (await bus.connection.js.stream_info("SCORED")).state.consumer_count)

    async def all_there() -> bool:
        return all(len(heard[m].numbers) >= EACH - skipped[m] for m in NAMES)

    await eventually(all_there, "every model has its messages")
    for name in NAMES:
        assert heard[name].numbers == list(range(skipped[name], EACH)), name
    assert 0 < most <= AT_ONCE + 2
    for one in heard.values():
        one.over.set()
    await asyncio.gather(*(one.task for one in heard.values()))

    async def nobody() -> bool:
        return (await bus.connection.js.stream_info("SCORED")).state.consumer_count == 0

    await eventually(nobody, "nothing is read when nobody wants it")
    again = Heard(feed, NAMES[0], 1)

    async def again_there() -> bool:
        return again.numbers == list(range(EACH))

    await eventually(again_there, "it is read again")
    again.over.set()
    await again.task


async def test_a_model_whose_handling_fails_ends_alone(bus: Bus, feed: Feed) -> None:
    bad, good = Heard(feed, "m1", 1), Heard(feed, "m2", 1)
    await bus.publish([message("m1", 0), message("m2", 0)])

    async def both() -> bool:
        return len(bad.numbers) == len(good.numbers) == 1

    await eventually(both, "both are read")
    await bus.publish([message("m1", -1), message("m2", 1)])
    with pytest.raises(ValueError, match="a bug"):
        await asyncio.wait_for(bad.task, 10)

    async def goes_on() -> bool:
        return good.numbers == [0, 1]

    await eventually(goes_on, "the other one goes on")
    good.over.set()
    await good.task
