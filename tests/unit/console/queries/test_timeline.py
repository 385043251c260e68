import msgspec
from hypothesis import given
from hypothesis import strategies as st

from driftloop.console.queries.marks import data_times, mark
from driftloop.console.queries.timeline import DAY, HOUR, SECOND, STEPS, probations, width
from driftloop.contracts import events as e
from driftloop.contracts.headers import Origin
from tests.support import synthetic as syn


@given(
    since=st.integers(-(10**12), 10**13),
    span=st.integers(0, 10**13),
    points=st.integers(1, 2_000),
)
def test_there_are_never_more_buckets_than_asked_for(since: int, span: int, points: int) -> None:
    step = width(since, since + span, points)
    assert (since + span) // step - since // step < max(points, 2)


def test_buckets_have_a_width_that_people_know() -> None:
    assert width(0, 299 * SECOND, 300) == SECOND
    assert width(0, 299 * HOUR, 300) == HOUR
    assert width(0, 365 * DAY, 300) == 2 * DAY
    assert set(STEPS) == {step for step in STEPS if step % SECOND == 0}


def test_an_event_stands_where_its_cause_stands_or_the_clock_was() -> None:
    facts = syn.facts(list(syn.promotion("flights", 3)))
    times = data_times(facts, {})
    assert set(times.values()) == {syn.FEBRUARY}
    alone = syn.facts([(e.ScheduleDue(model="flights", number=1), Origin())])
    assert list(data_times(alone, {}).values()) == [0]
    assert list(data_times(alone, {alone[0].time: 5}).values()) == [5]
    later = msgspec.structs.replace(alone[0], seq=99)
    assert data_times([facts[0], later], {})[later.id] == syn.FEBRUARY


def test_a_mark_of_an_alarm_has_the_estimated_change() -> None:
    told = syn.facts([(syn.alarm("flights"), Origin())])[0]
    made = mark(told, 5)
    assert (made.data_time, made.since_time) == (5, syn.FEBRUARY - 86_400_000)
    assert (made.run, made.version) == ("", 0)


def test_probations_are_pairs_of_champions() -> None:
    def started(version: int, champion: int, role: e.Role) -> e.ShadowStarted:
        return e.ShadowStarted(
            model="flights",
            run=f"run-{champion}-{role}",
            version=version,
            champion=champion,
            role=role,
            from_seq=1,
        )

    said = [started(2, 1, "challenger"), started(1, 2, "probation"), started(2, 3, "probation")]
    assert probations(syn.facts([(event, Origin()) for event in said])) == [(2, 1), (3, 2)]
