"""A dead letter that is a control event, given back on a broker with keys: its signature holds."""

from collections.abc import Sequence

import pytest

from driftloop.bus import letters, redeliver
from driftloop.bus.bus import Bus
from driftloop.contracts.errors import Reject
from driftloop.contracts.events import AnyEvent, ScheduleDue, TriggerDeclined
from driftloop.contracts.headers import CAUSATION, Origin
from tests.support.flows import eventually, held
from tests.support.secured import Secured, broker

__all__ = ["broker"]


async def _letters(bus: Bus) -> list[letters.Letter]:
    return [one async for one in letters.letters(bus)]


async def test_an_event_is_handled_again_as_if_for_the_first_time(broker: Secured) -> None:
    refuse = [True]

    async def handler(event: ScheduleDue, origin: Origin) -> Sequence[AnyEvent]:
        if refuse[0]:
            raise Reject("number: is odd")
        return [
            TriggerDeclined(
                model="m", trigger="schedule", trigger_id=event.event_id(), reason="a test"
            )
        ]

    async with broker.user("registry") as bus:
        await bus.control({ScheduleDue: handler})
        await bus.start()
        await bus.emit(ScheduleDue(model="m", number=1))

        async def dead() -> bool:
            return bool(await _letters(bus))

        await eventually(dead, "a dead letter")
        [letter] = await _letters(bus)
        assert (letter.service, letter.position, letter.reason) == (
            "registry",
            "EVENTS:1",
            "number: is odd",
        )
        found = await letters.message_of(bus, letter.seq)
        with pytest.raises(Reject, match="number: is odd"):
            await redeliver.give_back(bus, found)
        refuse[0] = False
        await redeliver.give_back(bus, found)
        [first, answer] = await held(bus, "EVENTS", "events.m.>")
        assert isinstance(answer.event(), TriggerDeclined)
        assert answer.headers[CAUSATION] == first.event_id
        await letters.remove(bus, letter.seq)
        await letters.remove(bus, letter.seq)
        assert await _letters(bus) == []
