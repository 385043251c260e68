"""What holds after whatever events in whatever order."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.contracts import events as e
from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.state import ModelState
from driftloop.registry.domain.contest import MOST
from tests.unit.registry.keeper import DAY, Keeper

Step = Callable[[Keeper], list[e.AnyEvent]]


def about_the_run(make: Callable[[Keeper], e.AnyEvent]) -> Step:
    """Hear an event about the run in progress, if there is one."""
    return lambda keeper: keeper.hear(make(keeper)) if keeper.state.run else []


def command(name: str, version: int) -> Step:
    def step(keeper: Keeper) -> list[e.AnyEvent]:
        try:
            return keeper.command(name, version)[1]
        except InvalidInput:
            return []

    return step


def beside(version: int, verdict: e.LiveVerdict) -> Step:
    """A verdict on a challenger that an operator put there, if there is one."""

    def step(keeper: Keeper) -> list[e.AnyEvent]:
        there = [s.version for s in keeper.state.shadows if s.deadline]
        return keeper.hear(keeper.beside(version, verdict)) if version in there else []

    return step


def later(keeper: Keeper) -> list[e.AnyEvent]:
    keeper.now += 40 * DAY / 1_000
    return keeper.deadline() + keeper.schedule()


verdicts: st.SearchStrategy[e.LiveVerdict] = st.sampled_from(["better", "worse", "undecided"])
roles: st.SearchStrategy[e.Role] = st.sampled_from(["challenger", "probation"])
times = st.integers(0, 9).map(lambda days: days * DAY // 2)
steps: st.SearchStrategy[Step] = st.one_of(
    times.map(lambda t: lambda k: k.hear(k.accumulated(100 + t // DAY, t))),
    times.map(lambda t: lambda k: k.hear(k.drift(t, 5_000 + t // DAY))),
    times.map(lambda t: lambda k: k.hear(k.degraded(t, 5_000 + t // DAY))),
    times.map(lambda t: lambda k: k.clock(t)),
    st.sampled_from(
        [
            about_the_run(Keeper.started),
            about_the_run(Keeper.trained),
            about_the_run(Keeper.trained),
            about_the_run(Keeper.approved),
            about_the_run(Keeper.approved),
            about_the_run(Keeper.rejected),
            about_the_run(Keeper.failed),
            later,
        ]
    ),
    st.builds(lambda r, v: about_the_run(lambda k: k.concluded(r, v)), roles, verdicts),
    st.builds(
        command,
        st.sampled_from(["retrain", "promote", "rollback", "challenge", "pause", "resume"]),
        st.integers(0, 3),
    ),
    st.builds(beside, st.integers(1, 3), verdicts),
)


def probation(state: ModelState) -> bool:
    return state.run is not None and state.run.stage == "probation"


def runs_begun(said: list[e.AnyEvent]) -> list[str]:
    """Runs begin with a request, or with the promotion of a challenger an operator put there."""
    asked = [event for event in said if isinstance(event, e.RetrainRequested)]
    old = [s.run for s in said if isinstance(s, e.ShadowStarted) and s.role == "probation"]
    trained = {event.run for event in asked}
    return [
        event.run
        for event in said
        if isinstance(event, e.RetrainRequested)
        or (isinstance(event, e.ModelPromoted) and event.run in old and event.run not in trained)
    ]


@settings(max_examples=250, deadline=None)
@given(st.lists(steps, max_size=40))
def test_whatever_happens_the_model_stays_in_order(taken: list[Step]) -> None:
    keeper = Keeper()
    keeper.respecify(triggers={"on": ["drift", "degraded", "new_data", "schedule"]})
    said: list[e.AnyEvent] = []
    for step in taken:
        had_champion = keeper.state.champion
        said += step(keeper)
        state = keeper.state
        crowned = [v for v, known in state.versions.items() if known.stage == "champion"]
        assert crowned == ([state.champion] if state.champion else [])
        assert state.champion or not had_champion
        assert all(
            s.version in state.versions and s.version != state.champion for s in state.shadows
        )
        assert all(s.champion == state.champion for s in state.shadows)
        own = [s for s in state.shadows if not s.deadline]
        assert all(state.run is not None and s.run == state.run.id for s in own)
        assert not set(state.past_champions) - set(state.versions)
        assert len(own) <= 1
        assert len(state.shadows) <= MOST
        assert len({s.version for s in state.shadows}) == len(state.shadows)
        numbers = [s.challenger for s in state.shadows if s.role == "challenger"]
        assert all(number > 0 for number in numbers)
        assert all(
            s.role == "challenger" and not probation(state) for s in state.shadows if s.deadline
        )
    begun = runs_begun(said)
    ended = [event.run for event in said if isinstance(event, e.RunFinished)]
    assert len(set(begun)) == len(begun)
    assert begun == ended + ([keeper.run.id] if keeper.state.run else [])
    assert [run.id for run in keeper.state.history] == ended[-50:]
    assert all(run.verdict and run.outcome for run in keeper.state.history)
    ids = [event.event_id() for event in said]
    assert len(set(ids)) == len(ids)


@settings(max_examples=100, deadline=None)
@given(st.lists(steps, max_size=25))
def test_what_was_decided_on_before_changes_nothing(taken: list[Step]) -> None:
    keeper = Keeper()
    heard: list[e.AnyEvent] = []
    hear = keeper.hear

    def remember(event: e.AnyEvent) -> list[e.AnyEvent]:
        heard.append(event)
        return hear(event)

    keeper.hear = remember  # type: ignore[method-assign]  # to know what was heard
    for step in taken:
        step(keeper)
    before = keeper.state
    for event in heard:
        assert hear(event) == []
    assert keeper.state == before
