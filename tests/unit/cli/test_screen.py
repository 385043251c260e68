"""What `top` draws of what the console says."""

from typing import Any

import msgspec
import pytest
from rich.console import Console

from driftloop.cli.screen import Screen, sparks
from driftloop.console.api.shapes import Card, Cards, Hello, Outage, RunNow, Service
from tests.support import synthetic as syn

HELLO = Hello(time="", user="", scopes=["read"], models=None, version="1", event_seq=0)
WELL = Card(name="calm", champion=3, rate=12.0, loss=0.1234)
BAD = Card(
    name="flights",
    champion=7,
    drift="alarm",
    trouble=800,
    tone="bad",
    trouble_text="The champion's loss has been higher since Monday; no run is at work on it.",
    run=RunNow(id="run-1", stage="shadowing", trigger="drift", started="", version=8),
)


def say(screen: Screen, kind: str, value: Any) -> None:
    screen.fold(kind, msgspec.json.encode(value))


def drawn(screen: Screen, width: int = 80, height: int = 24) -> list[str]:
    """The lines of a picture, of at most so many columns."""
    console = Console(width=width, height=height, record=True, file=None, highlight=False)
    with console.capture() as captured:
        console.print(screen.draw(width, height))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= width
    return lines


@pytest.fixture
def screen() -> Screen:
    made = Screen("http://console")
    say(made, "hello", HELLO)
    say(made, "cards", Cards(time="", cards=[WELL, BAD]))
    ready = [Service(name=name, ready=True, memory_mb=90.0) for name in ("ingest", "registry")]
    down = Service(name="trainer", reason="silent for 20 s")
    say(made, "services", [*ready, down])
    return made


def test_the_worst_model_is_first_and_says_why(screen: Screen) -> None:
    lines = drawn(screen, 120)
    assert lines[0].startswith("driftloop 2 models, 1 in trouble; 3 services, 1 not ready")
    [first, second] = [line for line in lines if "v7" in line or "v3" in line]
    assert first.startswith("! flights")
    assert "shadowing v8" in first
    assert "The champion's loss has been higher" in first
    assert second.startswith("  calm")
    assert any("NO trainer  silent for 20 s" in line for line in lines)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (200, 60), (60, 10)])
def test_a_thousand_models_and_events_fit_on_the_terminal(width: int, height: int) -> None:
    screen = Screen("http://console")
    say(screen, "hello", HELLO)
    cards = [Card(name=f"m{at}", champion=1, trouble=at % 7) for at in range(1_000)]
    say(screen, "cards", Cards(time="", cards=cards))
    say(screen, "services", [Service(name=f"s{at}", ready=True) for at in range(3)])
    for _ in range(10):
        say(screen, "said", syn.facts(list(syn.promotion("m1", 7))))
    lines = drawn(screen, width, height)
    assert len(lines) <= height
    assert any(line.startswith("and 9") and line.strip().endswith(" more") for line in lines)
    assert any("model.promoted" in line for line in lines)


def test_changes_are_taken_in_and_a_new_greeting_begins_anew(screen: Screen) -> None:
    better = msgspec.structs.replace(BAD, trouble=0, tone="quiet", trouble_text="")
    say(screen, "cards", Cards(time="", cards=[better], gone=["calm"]))
    lines = drawn(screen)
    assert lines[0].startswith("driftloop 1 model, all well")
    assert not any("calm" in line.split()[:1] for line in lines)
    screen.lost = "No console since 12:03:10, trying again"
    assert "No console since 12:03:10" in drawn(screen)[1]
    say(screen, "hello", HELLO)
    assert not screen.complete, "its models are still to come"
    say(screen, "cards", Cards(time="", cards=[WELL]))
    assert screen.complete
    assert not any("flights" in line or "No console" in line for line in drawn(screen))


def test_what_is_gone_and_what_was_missed_is_said(screen: Screen) -> None:
    say(screen, "outages", [Outage(what="telemetry", since="", text="does not answer")])
    say(screen, "missed", {"count": 1_200})
    say(screen, "a kind of a later version", {"x": 1})
    lines = drawn(screen, 120)
    assert "1,200 events missed" in lines[0]
    assert lines[1].startswith("telemetry: does not answer")


def test_events_of_before_and_of_now_are_shown_newest_first(screen: Screen) -> None:
    facts = syn.facts(list(syn.promotion("flights", 7)))
    screen.remember(facts[-2::-1])
    say(screen, "said", facts[-1:])
    kinds = [line.split()[2] for line in drawn(screen, 120, 40) if " flights " in f"{line} "[8:]]
    assert kinds[:2] == [facts[-1].kind, facts[-2].kind]


def test_a_trend_goes_from_the_lowest_bar_to_the_highest() -> None:
    assert sparks([]) == ""
    assert sparks([1.0, 2.0, 3.0]) == "▁▅█"
    assert sparks([2.0, 2.0]) == "▄▄"
    assert len(sparks([float(at) for at in range(99)])) == 16
