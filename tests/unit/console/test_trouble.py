"""What is wrong with a model, and the sentence that says so."""

import msgspec
import pytest

from driftloop.console.domain.cards import NOBODY, Audited, ordered
from driftloop.console.domain.cards import card as made
from driftloop.console.domain.live import Live
from driftloop.console.domain.times import iso
from driftloop.console.domain.trouble import troubles
from driftloop.contracts.alarms import Loss, PerformanceDegraded
from driftloop.contracts.events import AnyEvent, ModelRolledBack, RunFinished
from driftloop.contracts.headers import Origin
from driftloop.contracts.state import ModelState, Paused, Silence, Waiting
from tests.support import synthetic as syn

NOW = 1_800_000_000.0
WELL = syn.state("flights", 7, None)


def heard(*events: AnyEvent) -> Live:
    live = Live()
    for told in syn.facts([(event, Origin()) for event in events]):
        live.tell(msgspec.structs.replace(told, time=iso(NOW - 60)))
    return live


def harmful(harm: str) -> AnyEvent:
    loss = Loss(harm=harm)  # type: ignore[arg-type]  # one of its words
    return msgspec.structs.replace(syn.alarm("flights"), labelled=loss)


def degraded() -> AnyEvent:
    its = syn.alarm("flights")
    return PerformanceDegraded(
        model="flights",
        stream="OUTCOMES",
        seq=5,
        row=1,
        detector="loss",
        before=0.16,
        after=0.21,
        strength=1.0,
        since_time=its.since_time,
        rows_since=10,
        loss="brier",
        version=7,
    )


def back() -> AnyEvent:
    return ModelRolledBack(
        model="flights", run="r", version=6, previous=7, model_sha256="", reason="worse on 90 rows"
    )


def finished(verdict: str) -> AnyEvent:
    return RunFinished(
        model="flights",
        run="r",
        trigger="drift",
        version=8,
        verdict=verdict,  # type: ignore[arg-type]  # one of its words
        reason="no rows",
    )


def texts(live: Live, state: ModelState = WELL, missing: int | None = None) -> list[str]:
    return [its.text for its in troubles(live, state, missing, NOW)]


def test_a_model_that_is_well_has_no_trouble() -> None:
    assert texts(heard(finished("promoted"))) == []


@pytest.mark.parametrize(
    ("live", "text"),
    [
        (heard(degraded()), "The champion's loss has been higher since 2013-02-03 17:46"),
        (heard(harmful("moved")), "distributed otherwise since 2013-02-03 17:46, and the loss has"),
        (heard(harmful("unmoved")), "without harm to the loss; no run is at work on it."),
        (heard(back()), "Version 7 was rolled back to version 6 at 2027-01-15 07:59 UTC: worse"),
        (heard(finished("failed")), "The newest run failed at 2027-01-15 07:59 UTC: no rows."),
    ],
)
def test_what_was_heard_is_told_in_a_sentence(live: Live, text: str) -> None:
    assert text in texts(live)[0]


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"champion": 0}, "No version answers yet."),
        ({"waiting": Waiting(version=8, reason="")}, "Version 8 waits for the approval"),
        (
            {"paused": Paused(by="ann", reason="holiday", since=NOW)},
            "The loop is paused by ann since 2027-01-15 08:00: holiday.",
        ),
    ],
)
def test_the_state_is_told_in_a_sentence(changed: dict[str, object], text: str) -> None:
    assert text in texts(Live(), msgspec.structs.replace(WELL, **changed))[0]


def test_what_is_worse_comes_first() -> None:
    paused = msgspec.structs.replace(WELL, paused=Paused(by="ann", reason="x", since=NOW))
    live = heard(back(), harmful("unmoved"), degraded())
    words = ("accounting", "loss has been", "rolled back", "without harm", "paused")
    for word, text in zip(words, texts(live, paused, 3), strict=True):
        assert word in text


def test_the_tone_says_whether_somebody_has_to_look_now() -> None:
    paused = msgspec.structs.replace(WELL, paused=Paused(by="ann", reason="x", since=NOW))
    running = syn.state("flights", 7, syn.run(8, "training"))
    stands = [
        (Live(), WELL, "quiet"),
        (Live(), paused, "warn"),
        (heard(harmful("unmoved")), WELL, "warn"),
        (heard(harmful("unknown")), running, "bad"),
        (heard(back()), WELL, "bad"),
    ]
    for live, state, expected in stands:
        assert made(live, state, NOBODY, Audited(), NOW).tone == expected


def test_a_run_at_work_makes_an_alarm_less_urgent_but_not_less_than_a_harmless_one() -> None:
    running = syn.state("flights", 7, syn.run(8, "training"))
    alone, worked = (troubles(heard(degraded()), s, None, NOW)[0] for s in (WELL, running))
    assert (
        alone.level > worked.level > troubles(heard(harmful("unmoved")), WELL, None, NOW)[0].level
    )
    assert "a run is at work on it (training)" in worked.text


def test_a_silenced_alarm_is_shown_and_is_no_trouble_until_the_silence_ends() -> None:
    silence = Silence(detector="feature:temp", by="ann", reason="known", since=0.0, until=NOW + 5)
    state = msgspec.structs.replace(WELL, silences=(silence,))
    live = heard(harmful("moved"))
    during, after = (made(live, state, NOBODY, Audited(), at) for at in (NOW, NOW + 6))
    assert (during.trouble, during.alarms[0].silenced_until) == (0, iso(NOW + 5))
    [told] = during.silences
    assert (told.detector, told.by, told.reason) == ("feature:temp", "ann", "known")
    assert told.until == iso(NOW + 5)
    assert during.drift == after.drift == "alarm"
    assert after.trouble > 0
    assert (after.alarms[0].silenced_until, after.silences) == ("", [])


def test_a_roll_back_of_long_ago_is_no_trouble_any_more() -> None:
    assert troubles(heard(back()), WELL, None, NOW + 2 * 86_400.0) == []


def test_a_card_says_the_worst_and_how_many_more() -> None:
    card = made(heard(degraded(), harmful("moved")), WELL, NOBODY, Audited(), NOW)
    assert card.trouble_text.endswith("no run is at work on it. And 1 more.")
    assert card.trouble == 801


def test_a_card_says_of_the_accounting_only_what_was_counted() -> None:
    unknown, is_open, closed = (
        made(Live(), WELL, NOBODY, audited, NOW)
        for audited in (Audited(), Audited(state="open", missing=3), Audited(state="closed"))
    )
    assert (unknown.accounting, unknown.trouble) == ("unknown", 0)
    assert (is_open.accounting, is_open.missing) == ("open", 3)
    assert "3 rows are missing or too many" in is_open.trouble_text
    assert (closed.accounting, closed.trouble) == ("closed", 0)


def test_a_suspected_shift_is_named_with_its_share() -> None:
    live = Live()
    live.score(syn.score("flights", "temp", share=0.4))
    live.score(syn.score("flights", "wind", share=0.2))
    card = made(live, WELL, NOBODY, Audited(), NOW)
    assert (card.drift, card.drift_share) == ("suspected", 0.6)
    assert card.trouble_text == "A shift is suspected: 60% of an alarm, most of it temp."


def test_the_worst_card_comes_first_and_the_search_looks_at_names_and_troubles() -> None:
    cards = [
        made(live, syn.state(name, 7, None), NOBODY, Audited(), NOW)
        for name, live in (("b", Live()), ("c", heard(degraded())), ("a", Live()))
    ]
    assert [card.name for card in ordered(cards)] == ["c", "a", "b"]
    assert [card.name for card in ordered(cards, "LOSS has")] == ["c"]
    assert ordered(cards, "nothing") == []
