from typing import cast

import pytest

from driftloop.bus.bus import Bus
from driftloop.contracts.subjects import BACKLOG, LIVE
from driftloop.ingest.lanes import MOST_PUBLISHED, WAITED, Lanes
from driftloop.runtime.pace import FIRST_WAIT_SECONDS, UNIT

LONG = 60.0


def waited(model: str) -> float:
    return float(WAITED.labels(model)._value.get())


async def test_a_flood_goes_message_by_message_while_others_send() -> None:
    lanes = Lanes(cast("Bus", None), 100, 100)
    assert lanes.at_once(BACKLOG) == MOST_PUBLISHED
    await lanes.sent("calm", LIVE, [(1, 10)], 0.001, LONG)
    assert (lanes.at_once(LIVE), lanes.at_once(BACKLOG)) == (MOST_PUBLISHED, 1)


async def test_a_flood_waits_by_its_rows_and_at_least_by_its_messages() -> None:
    lanes = Lanes(cast("Bus", None), 100, 100)
    await lanes.sent("alone", BACKLOG, [(1, 2 * UNIT)], 0.001, LONG)
    assert waited("alone") == 0
    await lanes.sent("calm", LIVE, [(2, 10)], 0.001, LONG)
    await lanes.sent("large", BACKLOG, [(3, 2 * UNIT)], 0.001, LONG)
    assert waited("large") == pytest.approx(2 * FIRST_WAIT_SECONDS)
    await lanes.sent("small", BACKLOG, [(4, 10)], 0.001, LONG)
    assert waited("small") == pytest.approx(FIRST_WAIT_SECONDS)
    assert waited("calm") == 0


async def test_one_request_of_a_flood_waits_no_longer_than_its_bound() -> None:
    lanes = Lanes(cast("Bus", None), 100, 100)
    await lanes.sent("calm", LIVE, [(1, 10)], 0.001, LONG)
    await lanes.sent("bound", BACKLOG, [(2, 2 * UNIT)], 0.001, 0.01)
    assert waited("bound") == pytest.approx(0.01)
