"""What open pages are told: cards that changed, events in groups, and what they missed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from driftloop.console import hub as bounds
from driftloop.console.api.shapes import Card, Cards
from driftloop.console.domain import shown as cards_shown
from driftloop.console.domain.board import Board
from driftloop.console.domain.cards import About
from driftloop.console.domain.desk import Desk
from driftloop.console.domain.feed import told_of
from driftloop.console.domain.shown import Shown
from driftloop.console.hub import Ask, Hub, Page
from driftloop.console.sender import Sender
from driftloop.contracts.errors import Overloaded
from driftloop.contracts.headers import Origin
from tests.support import synthetic as syn

NOW = 1_800_000_000.0


def desk(*models: str) -> Desk:
    made = Desk(Board(100, 20, 1_000, 8.0), ("drift",), 8.0, NOW)
    for name in models:
        made.spec(name, About(task="classification", loss="brier"))
        made.state(name, syn.state(name, 1, None))
    made.refresh(NOW)
    return made


def read(told: tuple[bytes, int]) -> tuple[list[str], list[str]]:
    message, _ = told
    found = msgspec.json.decode(message, type=Cards)
    return sorted(card.name for card in found.cards), found.gone


def test_only_cards_that_changed_are_told_and_to_a_new_page_all() -> None:
    its = desk("a", "b", "c")
    seen = its.shown.revision
    assert its.cards_message(seen, None, NOW)[0] == b""
    its.board.tell(syn.facts([(syn.alarm("b"), Origin())])[0])
    its.refresh(NOW)
    assert read(its.cards_message(seen, None, NOW)) == (["b"], [])
    assert read(its.cards_message(-1, None, NOW)) == (["a", "b", "c"], [])
    assert its.cards_message(seen, frozenset("a"), NOW)[0] == b""
    assert read(its.cards_message(-1, frozenset("ac"), NOW)) == (["a", "c"], [])


def test_a_model_that_only_an_event_names_has_no_card_until_it_has_a_spec() -> None:
    its = desk("a")
    its.board.tell(syn.facts([(syn.alarm("b"), Origin())])[0])
    its.refresh(NOW)
    assert set(its.shown.cards) == {"a"}
    its.spec("b", About())
    its.refresh(NOW)
    assert its.shown.cards["b"].drift == "alarm"


def test_a_model_that_is_gone_is_told_once_to_who_had_it() -> None:
    its = desk("a", "b")
    seen = its.shown.revision
    its.spec("b", None)
    its.refresh(NOW)
    assert read(its.cards_message(seen, None, NOW)) == ([], ["b"])
    assert its.cards_message(its.shown.revision, None, NOW)[0] == b""
    assert read(its.cards_message(-1, None, NOW)) == (["a"], [])
    assert its.cards_message(seen, frozenset("a"), NOW)[0] == b""


def test_of_many_changes_the_oldest_are_told_first_and_each_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cards_shown, "AT_ONCE", 2)
    shown = Shown()
    shown.put([Card(name=name) for name in "abcde"])
    seen = shown.since(-1, None).revision
    assert len(shown.since(-1, None).cards) == 5
    shown.put([Card(name=name, rate=1.0) for name in "abcde"])
    shown.remove("e")
    told: list[str] = []
    gone: list[str] = []
    for _ in range(3):
        changed = shown.since(seen, None)
        seen = changed.revision
        told += [msgspec.json.decode(raw, type=Card).name for raw in changed.cards]
        gone += changed.gone
    assert (told, gone) == (["a", "b", "c", "d"], ["e"])
    assert seen == shown.revision


def test_a_card_that_is_as_before_is_no_change() -> None:
    shown = Shown()
    shown.put([Card(name="a"), Card(name="b")])
    before = shown.revision
    shown.put([Card(name="a"), Card(name="b")])
    assert shown.revision == before
    shown.put([Card(name="a", rate=1.0)])
    assert shown.revision == before + 1


def test_whoever_may_know_of_some_models_is_told_nothing_of_the_others() -> None:
    its = desk("a", "b")
    ill = msgspec.structs.replace(syn.service("drift", 1.0, 1.0), ready=False, reason="b is ill")
    its.board.measure(NOW, ill)
    its.refresh(NOW)
    whole = its.whole(frozenset("a"), "1", NOW)
    assert [card.name for card in whole.cards] == ["a"]
    assert (whole.dropped, whole.event_seq, whole.services[0].reason) == (0, 0, "")
    assert [outage.text for outage in whole.outages] == ["drift is not well"]
    assert "b is ill" in its.whole(None, "1", NOW).outages[0].text
    overview = its.overview("", 10, 0, frozenset("a"), NOW)
    assert (overview.total, overview.well) == (1, 1)


class Told:
    """A sender with a desk, and its pages."""

    def __init__(self, *models: str) -> None:
        self.desk = desk(*models)
        self.stopping = asyncio.Event()
        self.hub = Hub(8, self.stopping)
        self.sender = Sender(lambda: self.desk.refresh(NOW), self.desk, self.hub, 0.05)

    def page(self, ask: Ask = Ask(), models: frozenset[str] | None = None) -> Page:  # noqa: B008  # a frozen tuple
        page = self.hub.open(models, lambda: True, ask)
        self.sender.welcome(page, b"{}")
        return page

    def say(self, model: str, count: int, first: int = 1) -> None:
        said = [(syn.alarm(model, first + n), Origin()) for n in range(count)]
        for fact in syn.facts(said, first):
            self.sender.tell(told_of(fact))


@pytest.fixture
async def told() -> AsyncIterator[Callable[..., Told]]:
    made: list[tuple[Told, asyncio.Task[None]]] = []

    def make(*models: str) -> Told:
        its = Told(*models)
        made.append((its, asyncio.create_task(its.sender.run(its.stopping))))
        return its

    yield make
    for its, task in made:
        its.stopping.set()
        await task


async def messages(page: Page, until: Callable[[list[tuple[str, Any]]], bool]) -> list[Any]:
    """What a page is told until it is enough."""
    found: list[tuple[str, Any]] = []
    async with asyncio.timeout(10):
        while not until(found):
            for message in (await page.take()).decode().split("\n\n"):
                if message.startswith("event: "):
                    kind, _, data = message.partition("\n")
                    found.append((kind[7:], msgspec.json.decode(data.removeprefix("data: "))))
    return found


async def test_events_come_together_and_each_page_is_told_what_it_asked_for(
    told: Callable[..., Told],
) -> None:
    its = told("a", "b")
    every, of_a, none = its.page(), its.page(Ask(model="a")), its.page(Ask(events=False))
    mine = its.page(models=frozenset("b"))
    its.say("a", 3)
    its.say("b", 2, first=10)
    for page, seqs in ((every, [1, 2, 3, 10, 11]), (of_a, [1, 2, 3]), (mine, [10, 11])):
        found = await messages(page, lambda f: bool(f) and f[-1][0] == "said")
        groups = [data for kind, data in found if kind == "said"]
        assert [[fact["seq"] for fact in group] for group in groups] == [seqs]
    its.desk.board.tell(syn.facts([(syn.alarm("a"), Origin())])[0])
    found = await messages(none, lambda f: [kind for kind, _ in f].count("cards") == 2)
    assert "said" not in [kind for kind, _ in found]


async def test_a_page_that_is_behind_misses_events_but_is_told_how_many_and_no_card(
    told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MOST_BYTES", 20_000)
    its = told("a")
    page, quick = its.page(), its.page()
    total, seen = 0, []
    for round_ in range(20):
        its.say("a", 10, first=10 * round_ + 1)
        total += 10
        found = await messages(quick, lambda f: any(kind == "said" for kind, _ in f))
        seen += [fact["seq"] for kind, data in found if kind == "said" for fact in data]
    assert seen == list(range(1, total + 1))
    assert page.full
    its.desk.board.tell(syn.facts([(syn.alarm("a"), Origin())])[0])
    await messages(quick, lambda f: any(kind == "cards" for kind, _ in f))
    found = await messages(page, lambda f: sum(kind == "cards" for kind, _ in f) == 2)
    assert found[-1][1]["cards"][0]["drift"] == "alarm"
    its.say("a", 1, first=1_000)
    found += await messages(page, lambda f: bool(f) and f[-1][0] == "said")
    got = sum(len(data) for kind, data in found if kind == "said")
    [missed] = [data["count"] for kind, data in found if kind == "missed"]
    assert got + missed == total + 1
    assert missed > 0


async def test_what_waits_for_a_page_that_reads_nothing_is_bounded(
    told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MOST_BYTES", 20_000)
    its = told("a")
    page, quick = its.page(), its.page()
    for round_ in range(10):
        its.say("a", 100, first=100 * round_ + 1)
        await messages(quick, lambda f: any(kind == "said" for kind, _ in f))
    assert len(await page.take()) < 20_000 + 200_000


async def test_more_pages_than_there_is_room_for_are_told_to_come_back() -> None:
    hub = Hub(1, asyncio.Event())
    hub.open(None, lambda: True, Ask())
    with pytest.raises(Overloaded, match="1 pages are open; accepted: fewer"):
        hub.open(None, lambda: True, Ask())
