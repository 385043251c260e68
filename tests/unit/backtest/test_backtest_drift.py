"""Drift that is looked at far ahead finds what it finds batch after batch, as the service does."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from driftloop.contracts.events import Alarm
from driftloop.drift.domain.monitor import Found, Monitor
from driftloop.drift.handlers import KINDS
from driftloop.local.backtest import drift, loop
from driftloop.local.backtest.drift import Batch
from driftloop.local.backtest.run import Backtest, Done
from driftloop.local.backtest.world import World
from driftloop.modelspec.spec import Spec
from tests.support.backtest_files import SLICE_MS, rows, spec

OFTEN: dict[str, Any] = {"drift.alarms_per_million": 1_000.0, "drift.reference_rows": 400}
"""So many alarms that every kind is among them, several in what is looked at together."""


class BatchAfterBatch:
    """The service's monitor, fed each batch in its time."""

    def __init__(
        self,
        spec: Spec,
        world: World,
        champion: int,
        *,
        scored: Batch,
        outcomes: Batch,
        **_: object,
    ) -> None:
        self._world, self._scored, self._outcomes = world, scored, outcomes
        self._monitor = Monitor(spec, champion)

    def in_rows(self, number: int, rows: slice) -> list[Found]:
        seq = int(self._world.row_places[rows.start, 0])
        return said(self._monitor.scored(self._scored(rows), seq))

    def in_outcomes(self, number: int, rows: slice) -> list[Found]:
        seq = int(self._world.outcome_places[rows.start, 0])
        return said(self._monitor.outcomes(self._outcomes(rows), seq))


def said(found: Iterator[Found]) -> list[Found]:
    """In the order of the service: kind after kind."""
    known = list(found)
    return [e for kinds in KINDS.values() for kind in kinds for e in known if e.kind == kind]


@pytest.fixture(scope="module")
def backtest() -> Iterator[Backtest]:
    made = Backtest(rows(), SLICE_MS)
    yield made
    made.close()


@pytest.fixture(scope="module", params=[{}, OFTEN], ids=["usual", "often"])
def expected(request: pytest.FixtureRequest, backtest: Backtest) -> tuple[dict[str, Any], Done]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "Watch", BatchAfterBatch)
        return request.param, played(backtest, request.param)


def played(backtest: Backtest, changes: dict[str, Any]) -> Done:
    (done,) = backtest.run(spec(), [changes], lambda policy, rows: None)
    return done


@pytest.mark.parametrize("ahead", [1, 7, drift.AHEAD])
def test_alarms_and_all_that_follows_are_those_of_batch_after_batch(
    backtest: Backtest,
    expected: tuple[dict[str, Any], Done],
    ahead: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes, slow = expected
    monkeypatch.setattr(drift, "AHEAD", ahead)
    quick = played(backtest, changes)

    assert quick.played.events == slow.played.events
    assert quick.report == slow.report
    assert np.array_equal(quick.played.versions, slow.played.versions)
    assert np.array_equal(quick.played.served, slow.played.served, equal_nan=True)


def test_the_champion_changes_in_the_middle_and_alarms_say_what_the_loss_did(
    expected: tuple[dict[str, Any], Done],
) -> None:
    _, slow = expected
    alarms = [event for event in slow.played.events if isinstance(event, Alarm)]

    assert len(set(slow.played.versions.tolist()) - {0}) >= 2
    assert any(alarm.labelled.rows_before for alarm in alarms)
