import msgspec
import pytest

from driftloop.contracts import events as e
from driftloop.contracts.codec import EVENT_TYPES
from driftloop.contracts.facts import _LINES, Fact
from driftloop.contracts.headers import Origin
from driftloop.contracts.why import explain, lines
from tests.support import synthetic as syn

KINDS = [
    "drift.detected",
    "retrain.requested",
    "training.started",
    "candidate.trained",
    "candidate.approved",
    "shadow.started",
    "shadow.concluded",
    "model.promoted",
]


def kinds(facts: tuple[Fact, ...]) -> list[str]:
    return [told.kind for told in facts]


def test_the_chain_leads_from_the_trigger_to_the_promotion() -> None:
    found = explain("flights", syn.facts(list(syn.promotion("flights", 3))))
    assert found.champion == 3
    assert kinds(found.chain) == KINDS


def test_the_newest_promotion_is_explained_and_other_runs_and_models_stay_out() -> None:
    said = [
        *syn.promotion("flights", 2),
        *syn.promotion("churn", 9),
        *syn.promotion("flights", 3),
        *syn.promotion("churn", 10),
    ]
    found = explain("flights", syn.facts(said))
    assert found.champion == 3
    assert {told.correlation for told in found.chain} == {"", "run-0003"}
    assert {told.model for told in found.chain} == {"flights"}


def test_a_roll_back_is_explained_through_the_promotion_it_undoes() -> None:
    said = list(syn.promotion("flights", 3))
    at = Origin(causation=said[-1][0].event_id(), correlation="run-0003")
    for event in (
        e.ShadowStarted(
            model="flights", run="run-0003", version=2, champion=3, role="probation", from_seq=9
        ),
        msgspec.structs.replace(syn.concluded("flights", "run-0003", 2), role="probation"),
        e.ModelRolledBack(
            model="flights",
            run="run-0003",
            version=2,
            previous=3,
            model_sha256="02" * 32,
            reason="the old champion was better",
        ),
    ):
        said.append((event, at))
        at = Origin(causation=event.event_id(), correlation="run-0003")
    found = explain("flights", syn.facts(said))
    assert found.champion == 2
    assert kinds(found.chain) == [
        *KINDS,
        "shadow.started",
        "shadow.concluded",
        "model.rolled_back",
    ]


def test_what_the_run_led_to_afterwards_is_told_apart() -> None:
    said = list(syn.promotion("flights", 3))
    promoted = said[-1][0]
    retired = e.ModelRetired(model="flights", run="run-0003", version=2, reason="probation is over")
    said.append((retired, Origin(causation=promoted.event_id(), correlation="run-0003")))
    found = explain("flights", syn.facts(said))
    assert kinds(found.since) == ["model.retired"]
    assert "Since then:" in list(lines(found))


def test_without_a_promotion_there_is_no_champion_to_explain() -> None:
    found = explain("flights", syn.facts([(syn.alarm("flights"), Origin())]))
    assert found.champion == 0
    assert list(lines(found)) == ["flights has no champion yet: no candidate has been promoted."]


def test_a_cause_that_is_no_longer_kept_ends_the_chain() -> None:
    facts = syn.facts(list(syn.promotion("flights", 3)))
    assert kinds(explain("flights", facts[5:]).chain) == KINDS[5:]


def test_events_that_name_each_other_as_cause_do_not_make_a_loop() -> None:
    facts = syn.facts(list(syn.promotion("flights", 3)))
    first = msgspec.structs.replace(facts[0], causation=facts[-1].id)
    assert len(explain("flights", [first, *facts[1:]]).chain) == len(KINDS)


@pytest.mark.parametrize(
    "number",
    [
        "0.012 -> 0.183",
        "strength 9.31",
        "30,000 rows (OUTCOMES 300-417, sha256 abababababab)",
        "loss 0.1561 (bound 0.1602)",
        "interval +0.0012 to +0.0213 on 1,840 paired rows",
        "better on 1,840 paired rows",
    ],
)
def test_the_lines_hold_the_numbers(number: str) -> None:
    told = list(lines(explain("flights", syn.facts(list(syn.promotion("flights", 3))))))
    assert any(number in line for line in told)
    assert all("\n" not in line for line in told)


def test_every_kind_of_event_has_a_line() -> None:
    assert set(EVENT_TYPES) == set(_LINES)
