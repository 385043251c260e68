import msgspec
import pytest

from driftloop.console.domain import board as bounds
from driftloop.console.domain.board import Board
from driftloop.console.domain.evidence import Line
from driftloop.console.domain.view import view
from driftloop.contracts.headers import Origin
from tests.support import synthetic as syn

NOW = 1_800_000_000.0


def board(events: int = 50, points: int = 20) -> Board:
    return Board(events, points)


def test_the_oldest_events_go_and_are_counted() -> None:
    kept = board(events=3)
    for told in syn.facts([(syn.alarm("flights", n), Origin()) for n in range(5)]):
        kept.tell(told)
    assert [told.seq for told in kept.events] == [3, 4, 5]
    assert kept.dropped == 2


def test_an_event_that_comes_twice_is_shown_once() -> None:
    kept = board()
    told = syn.facts([(syn.alarm("flights"), Origin())])[0]
    kept.tell(told)
    kept.tell(told)
    assert len(kept.events) == 1


def test_models_beyond_the_bound_are_counted_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_MODELS", 2)
    kept = board()
    for name in ("a", "b", "c"):
        kept.know(name)
        kept.measure(NOW, syn.join(name, 5))
    assert list(kept.models) == ["a", "b"]
    assert set(kept.joins) == {"a", "b"}
    assert kept.dropped == 2


def test_lines_of_old_shadows_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_LINES", 2)
    kept = board()
    for version in range(1, 5):
        kept.measure(NOW, syn.evidence("flights", version, 100))
    assert [key[3] for key in kept.lines] == [3, 4]


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
    for rows in (10, 20, 20, 15):
        line.add(syn.evidence("flights", 2, rows))
    assert [point[0] for point in line.points] == [10, 20]


def full() -> Board:
    kept = board()
    for told in syn.facts([*syn.promotion("flights", 6), *syn.promotion("flights", 7)]):
        kept.tell(told)
    for n in range(4):
        at = NOW - 6 + 2 * n
        scored = {"scored_rows__flights": 1_000.0 * n}
        kept.measure(at, syn.service("inference", NOW - 60, 10 + n, **scored))
        kept.measure(at, syn.service("feedback", NOW - 60, 5, outcomes_rows__flights=800.0 * n))
        kept.measure(at, syn.evidence("flights", 8, 100 + n))
    kept.measure(NOW, syn.join("flights", 123_456))
    return kept


def test_a_card_holds_champion_rates_run_and_evidence() -> None:
    states = {"flights": syn.state("flights", 7, syn.run(8, started=NOW - 30))}
    [card] = view(full(), states, (), NOW).models
    assert (card.champion, card.train_rows, card.joined) == (7, 30_000, 123_456)
    assert card.since
    assert card.scored == pytest.approx(500)
    assert card.outcomes == pytest.approx(400)
    assert card.run is not None
    assert [step.name for step in card.steps if step.state == "now"] == ["shadow"]
    [shadow] = card.evidence
    assert (shadow.version, shadow.champion, shadow.rows, len(shadow.points)) == (8, 7, 103, 4)


def test_a_shadow_without_evidence_is_shown_without_numbers() -> None:
    states = {"flights": syn.state("flights", 7, syn.run(9))}
    [shadow] = view(full(), states, (), NOW).models[0].evidence
    assert (shadow.rows, shadow.lower, shadow.points) == (0, None, [])


def test_the_time_of_another_champion_is_not_shown() -> None:
    states = {"flights": syn.state("flights", 5, None)}
    assert view(full(), states, (), NOW).models[0].since == ""


def test_a_service_is_not_ready_when_silent_or_unheard_of() -> None:
    shown = {s.name: s for s in view(full(), {}, ("drift", "inference"), NOW + 100).services}
    assert shown["drift"].reason == "not heard of yet"
    assert shown["inference"].reason == "silent for 100 s"
    assert not shown["inference"].ready
    assert list(shown) == ["drift", "inference", "feedback"]


def test_a_service_shows_its_use_of_the_cpu_and_why_it_is_not_ready() -> None:
    kept = full()
    last = syn.service("inference", NOW - 60, 14)
    kept.measure(NOW + 2, msgspec.structs.replace(last, ready=False, reason="no bus"))
    shown = {s.name: s for s in view(kept, {}, ("inference",), NOW + 2).services}
    assert shown["inference"].cpu == pytest.approx(0.5)
    assert (shown["inference"].ready, shown["inference"].reason) == (False, "no bus")


def test_a_model_without_a_state_has_an_empty_card() -> None:
    kept = board()
    kept.know("churn")
    [card] = view(kept, {}, (), NOW).models
    assert (card.name, card.champion, card.run, card.runs) == ("churn", 0, None, [])
    assert msgspec.json.decode(msgspec.json.encode(card))["name"] == "churn"
