"""What the board folds, and what it lets go."""

import msgspec
import pytest

from driftloop.console.domain import board as bounds
from driftloop.console.domain import live as live_bounds
from driftloop.console.domain.board import Board
from driftloop.console.domain.evidence import Line
from driftloop.console.domain.feed import Wanted, joined
from driftloop.console.domain.live import Live, Trend
from driftloop.contracts.events import AnyEvent, ModelRolledBack
from driftloop.contracts.facts import Fact
from driftloop.contracts.headers import Origin
from tests.support import synthetic as syn

NOW = 1_800_000_000.0


def board(events: int = 50, points: int = 20, models: int = 1_000) -> Board:
    return Board(events, points, models, silence=8.0)


def alarms(count: int, model: str = "flights") -> list[Fact]:
    return syn.facts([(syn.alarm(model, n), Origin()) for n in range(count)])


def rolled_back(model: str, version: int, previous: int) -> AnyEvent:
    return ModelRolledBack(
        model=model,
        run="run-0009",
        version=version,
        previous=previous,
        model_sha256="ab" * 32,
        reason="worse on 1,200 paired rows",
    )


def test_the_oldest_events_go_and_are_counted() -> None:
    kept = board(events=3)
    for told in alarms(5):
        kept.tell(told)
    assert [told.seq for told in kept.feed.kept] == [3, 4, 5]
    assert (kept.feed.dropped, kept.feed.first_seq, kept.feed.last_seq) == (2, 3, 5)


def test_an_event_that_comes_twice_is_shown_once_and_changes_nothing() -> None:
    kept = board()
    told = alarms(1)[0]
    assert kept.tell(told) is not None
    assert kept.tell(told) is None
    assert len(kept.feed.kept) == len(kept.models["flights"].alarms) == 1


def test_models_beyond_the_bound_are_counted_and_not_kept() -> None:
    kept = board(models=2)
    for name in ("a", "b", "c"):
        kept.measure(NOW, syn.join(name, 5))
    assert list(kept.models) == ["a", "b"]
    assert kept.dropped == 1


def test_lines_of_old_shadows_make_room_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_LINES", 2)
    kept = board()
    for version in range(1, 5):
        kept.measure(NOW, syn.evidence("flights", version, 100))
    assert [key[3] for key in kept.lines] == [3, 4]
    assert kept.dropped == 2
    assert len(kept.evidence) == 2


def test_detectors_with_the_least_evidence_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_bounds, "MOST_DETECTORS", 2)
    kept = board()
    for name, share in (("a", 0.1), ("b", 0.3), ("c", 0.2)):
        kept.measure(NOW, syn.score("flights", name, share=share))
    assert set(kept.models["flights"].detectors) == {"b", "c"}
    assert kept.dropped == 1


@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 100, 1_000])
def test_a_line_keeps_its_course_in_a_bounded_number_of_points(count: int) -> None:
    line = Line(20)
    for n in range(1, count + 1):
        line.add(syn.evidence("flights", 2, 10 * n))
    rows = [point[0] for point in line.points]
    assert len(rows) <= 22
    assert (rows[0], rows[-1]) == (10, 10 * count)
    assert rows == sorted(set(rows))


def test_evidence_that_comes_again_is_passed_over() -> None:
    line = Line(20)
    taken = [line.add(syn.evidence("flights", 2, rows)) for rows in (10, 20, 20, 15)]
    assert taken == [True, True, False, False]
    assert [point[0] for point in line.points] == [10, 20]


def test_a_line_is_recalled_with_what_was_kept_and_goes_on_with_what_was_heard() -> None:
    kept = board(points=50)
    for rows in (130, 140):
        kept.measure(NOW, syn.evidence("flights", 8, rows))
    key = ("flights", "run-0008", "challenger", 8)
    kept.recall(key, [syn.evidence("flights", 8, rows) for rows in (100, 110, 120, 130)])
    assert [point[0] for point in kept.lines[key].points] == [100, 110, 120, 130, 140]
    kept.recall(("other", "r", "challenger", 1), [])
    assert list(kept.lines) == [key]


def test_a_trend_has_one_point_for_so_many_rows_and_the_newest_is_the_newest() -> None:
    trend = Trend()
    for rows in range(0, 100 * 256, 64):
        trend.add(rows, rows / 1_000)
    assert len(trend.points) == live_bounds.TREND_POINTS
    assert trend.points[-1] == (100 * 256 - 64) / 1_000
    assert trend.points[0] < trend.points[1]


def test_a_trend_leaves_out_what_is_no_number_and_goes_on_when_rows_begin_anew() -> None:
    trend = Trend()
    for rows, mean in ((1_000, 0.2), (1_100, float("nan")), (50, 0.3)):
        trend.add(rows, mean)
    assert list(trend.points) == [0.2, 0.3]


def test_a_trend_of_before_comes_in_front_and_what_was_taken_already_counts_once() -> None:
    trend = Trend()
    trend.add(1_000, 0.5)
    trend.before([0.1, 0.2, 0.5])
    assert list(trend.points) == [0.1, 0.2, 0.5]


def test_the_share_of_an_alarm_is_that_of_the_detectors_that_share_a_bound() -> None:
    live = Live()
    for name, share in (("temp", 0.2), ("wind", 0.25), ("prediction", 0.3), ("loss", 0.1)):
        live.score(syn.score("flights", name, share=share))
    assert live.share == pytest.approx(0.45)


def test_a_promotion_answers_alarms_and_detectors_begin_anew() -> None:
    kept = board()
    for told in syn.facts(list(syn.promotion("flights", 7))):
        kept.tell(told)
    kept.measure(NOW, syn.score("flights", "temp", share=0.4))
    live = kept.models["flights"]
    assert live.crowned is not None
    assert not live.alarms
    later = syn.facts([(syn.alarm("flights", 77), Origin())], first_seq=50)[0]
    kept.tell(later)
    assert [alarm.seq for alarm in live.alarms] == [50]
    back = syn.facts([(rolled_back("flights", 6, 7), Origin())], first_seq=60)[0]
    kept.tell(back)
    assert not live.alarms
    assert not live.detectors
    assert live.rolled_back == back


def test_an_alarm_from_before_the_promotion_that_comes_late_does_not_stand() -> None:
    kept = board()
    said = syn.facts(list(syn.promotion("flights", 7)), first_seq=100)
    kept.fold(said[-1])
    kept.fold(alarms(1)[0])
    assert not kept.models["flights"].alarms


def test_a_model_that_is_gone_leaves_nothing() -> None:
    kept = board()
    kept.measure(NOW, syn.evidence("flights", 8, 100))
    kept.forget("flights")
    assert not kept.models
    assert not kept.lines


def test_events_are_found_by_what_they_are_looked_for() -> None:
    kept = board()
    said = [*syn.promotion("flights", 7), *syn.promotion("churn", 3)]
    for told in syn.facts(said):
        kept.tell(told)

    def found(wanted: Wanted, before: int = 0) -> list[str]:
        events = msgspec.json.decode(joined(list(kept.feed.find(wanted, before))))
        return [f"{its['model']} {its['kind']}" for its in events]

    assert found(Wanted(kind="model.promoted")) == [
        "churn model.promoted",
        "flights model.promoted",
    ]
    assert found(Wanted(model="churn", service="validation")) == [
        "churn shadow.concluded",
        "churn candidate.approved",
    ]
    assert found(Wanted(correlation="run-0007", kind="retrain.requested")) == [
        "flights retrain.requested"
    ]
    assert found(Wanted(text="LOWER BOUND", models=frozenset({"flights"}))) == [
        "flights shadow.concluded"
    ]
    assert found(Wanted(kind="model.promoted"), before=9) == ["flights model.promoted"]
    assert found(Wanted(models=frozenset())) == []
