"""A count that takes a share of the time."""

import asyncio

import pytest

from driftloop.bus.audit.pace import FULL, Pace


class Clock:
    """A clock that only work and rest move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.rested = 0.0
        monkeypatch.setattr(asyncio, "sleep", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds
        self.rested += seconds


def test_work_takes_its_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    pace = Pace(0.1, lambda: clock.now)

    async def work() -> None:
        for _ in range(1_000):
            clock.now += 0.003
            await pace.rest()

    asyncio.run(work())
    assert (clock.now - clock.rested) / clock.now == pytest.approx(0.1, abs=0.002)


def test_without_a_share_nothing_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    asyncio.run(FULL.rest())
    assert clock.rested == 0


@pytest.mark.parametrize("share", [0.0, -1.0, 1.1])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"share is .* accepted is above 0, up to 1"):
        Pace(share)
