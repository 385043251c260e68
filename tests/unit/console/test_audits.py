"""Whose rows are counted next, and what a card says of a count."""

import asyncio
from typing import Any

import pytest

from driftloop.bus.audit.report import Report
from driftloop.bus.audit.sums import Sum
from driftloop.console import audits
from driftloop.console.audits import Audits, audited
from driftloop.console.domain.cards import Audited
from tests.support.access import unconnected


def report(missing: int = 0) -> Report:
    its = Sum(
        model="a", name="valid", left=5, parts={"scored": 5 - missing}, missing=missing, extra=0
    )
    return Report(since="", sums=[its], dropped=[], in_flight=[], unreadable=0, ids=5, seconds=0.0)


class Counted:
    """Audits whose counts are given: sums, and where the model stood before and after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.report = report()
        self.at_rest: list[tuple[int, ...] | None] = []
        self.now = 1_000.0
        self.heard: list[tuple[str, Audited]] = []
        monkeypatch.setattr(audits, "audit", self._audit)
        monkeypatch.setattr(audits, "at_rest", self._at_rest)
        self.rows = 0
        self.takes = 0.0
        self.audits = Audits(
            unconnected(), 600.0, 24.0, lambda _: self.rows, clock=lambda: self.now
        )

    async def _audit(self, *_: Any, **__: Any) -> Report:
        self.now += self.takes
        return self.report

    async def _at_rest(self, *_: Any) -> tuple[int, ...] | None:
        return self.at_rest.pop(0)

    def count(self, *models: str) -> str | None:
        """Count the model that is due; its name."""
        model = self.audits._next(models)
        if model is not None:
            asyncio.run(self.audits._one(model, lambda *told: self.heard.append(told)))
        return model


def test_each_model_is_counted_in_its_turn_and_again_when_it_is_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    its = Counted(monkeypatch)
    its.at_rest = [None] * 10
    assert [its.count("b", "a"), its.count("b", "a"), its.count("b", "a")] == ["a", "b", None]
    its.now += 601
    assert its.count("b") == "b"
    assert set(its.audits.found) == {"b"}


def test_a_count_that_does_not_close_while_something_is_on_its_way_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    its = Counted(monkeypatch)
    its.at_rest = [(1,)]
    its.count("a")
    assert [told.state for _, told in its.heard] == ["closed"]
    its.report = report(missing=2)
    for before, *after in ([None], [(1,), (2,)], [(1,), None]):
        its.now += 601
        its.at_rest = [before, *after]
        assert its.count("a") == "a"
    assert len(its.heard) == 1
    its.now += 31  # sooner than after a count that says something
    its.at_rest = [(2,), (2,)]
    assert its.count("a") == "a"
    assert (its.heard[-1][1].state, its.heard[-1][1].missing) == ("open", 2)


def test_old_sums_that_somebody_looks_at_are_soon_added_up_again_if_rows_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    its = Counted(monkeypatch)
    its.at_rest = [None] * 20
    its.audits.seen(["a"])  # it is due anyway
    assert [its.count("a"), its.count("a")] == ["a", None]

    def looked(after: float) -> str | None:
        its.now += after
        its.audits.seen(["a", "gone"])
        return its.count("a")

    assert looked(300) is None  # no row came
    its.rows = 5
    assert looked(1) == "a"
    its.rows = 6
    assert [looked(59), looked(2)] == [None, "a"]
    its.rows, its.takes = 7, 40.0
    assert looked(61) == "a"
    its.rows = 8
    assert [looked(79), looked(2)] == [None, "a"]  # what takes longer is old later


def test_sums_that_say_nothing_are_not_added_up_more_often_for_whoever_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    its = Counted(monkeypatch)
    its.at_rest = [(1,), (1,), (2,), (2,), (3,)]
    its.count("a")
    its.rows, its.report = 5, report(missing=2)
    its.now += 61
    its.audits.seen(["a"])
    assert its.count("a") == "a"  # something is on its way
    its.now += 29
    its.audits.seen(["a"])
    assert its.count("a") is None
    its.now += 2
    assert its.count("a") == "a"


def test_who_asks_first_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    its = Counted(monkeypatch)
    its.at_rest = [None] * 20
    assert [its.count("a", "b", "c") for _ in range(4)] == ["a", "b", "c", None]
    its.now += 61
    its.rows = 5
    its.audits.seen(["c"])
    its.now += 1
    its.audits.seen(["a", "c"])
    assert [its.count("a", "b", "c") for _ in range(3)] == ["c", "a", None]


def test_what_is_missing_is_the_largest_difference_of_any_sum() -> None:
    found = report(missing=3)
    assert audited(found, 5.0) == Audited(state="open", missing=3, at=5.0)
    assert audited(report(), 5.0) == Audited(state="closed", at=5.0)
