"""Runs of the loop: a list, and one with its stages and what led to what."""

import time
from collections.abc import Sequence
from heapq import nlargest
from typing import Final

from driftloop.console.api.shapes import ChainLink, RunDetail, RunList
from driftloop.console.domain.cost import cost
from driftloop.console.domain.page import run_short
from driftloop.console.hub import Models
from driftloop.console.queries.facts import by_ids, crownings, of_run, with_causes
from driftloop.console.queries.past import Past
from driftloop.console.queries.stages import run_of, stages
from driftloop.contracts import events as e
from driftloop.contracts import why
from driftloop.contracts.facts import Fact
from driftloop.contracts.sql import text
from driftloop.contracts.state import ModelState, Run
from driftloop.runtime.problems import NotFound

MOST = 500
"""Events of one run that are read, the newest."""
BEFORE: Final = (
    e.Alarm,
    e.DataAccumulated,
    e.OperatorRequested,
    e.ScheduleDue,
    e.TriggerDeclined,
)
"""What may have the id of a run that never began."""


async def latest(past: Past, models: Models, model: str, limit: int) -> RunList:
    """The newest runs of a model, or of all that the caller may see ("").

    Of each model the registry keeps the 50 newest that have ended.
    """
    if model:
        states = [await past.state(model)]
    else:
        states = [s for name, s in past.states().items() if models is None or name in models]
    every = [(state.model, run) for state in states for run in _kept(state)]
    found = nlargest(limit, every, key=lambda its: (its[1].verdict is None, its[1].started))
    more = len(every) > limit or any(s.runs_started > len(_kept(s)) for s in states)
    return RunList(runs=[run_short(name, run) for name, run in found], more=more)


async def detail(past: Past, run_id: str, models: Models) -> RunDetail:
    """One run; raises `NotFound` if there is none that the caller may see."""
    model, run = await _model(past, run_id)
    if not model or (models is not None and model not in models):
        raise NotFound(f"run: there is no run {run_id[:80]!r}; accepted: one of /api/runs")
    facts = await of_run(past, model, run_id, MOST)
    if run is None:
        run = await _told(past, model, run_id, facts)
    chained = await with_causes(past, model, facts)
    own = {told.id for told in facts}
    cause = [told for told in chained if told.id == _cause(facts) and told.id not in own]
    return RunDetail(
        run=run_short(model, run),
        cause=_cause(facts) or run.trigger_id,
        since_time=run.since_time,
        asked_by=run.asked_by,
        stages=stages(run, [*cause, *facts], time.time()),
        chain=[_link(link) for link in why.chain(chained)],
        facts=facts,
        cost=cost(_cpu_seconds(facts), past.price),
    )


async def _told(past: Past, model: str, run_id: str, facts: Sequence[Fact]) -> Run:
    """A run by its events; raises `NotFound` if no run came of what has its id."""
    if not all(isinstance(told.event, BEFORE) for told in facts):
        return run_of(facts, run_id)
    state = await past.state(model)  # it may have begun a moment ago
    begun = next((run for run in _kept(state) if run.id == run_id), None)
    if begun is not None:
        return begun
    cause = next((told for told in facts if isinstance(told.event, e.Alarm)), None)
    if cause is None:
        raise NotFound(f"run: no run came of what is called {run_id}; accepted: one of /api/runs")
    why = await _declined(past, state, cause)
    when = cause.time[:19].replace("T", " ")
    raise NotFound(f"run: no run came of {cause.kind} of {model} at {when} UTC: {why}")


async def _declined(past: Past, state: ModelState, cause: Fact) -> str:
    """Why no run came of an alarm."""
    for told in await by_ids(past, state.model, [f"trigger.declined:{state.model}:{cause.id}"]):
        if isinstance(told.event, e.TriggerDeclined):
            return told.event.reason
    if state.deferred is not None and state.deferred.trigger_id == cause.id:
        return "it waits until one may begin"
    wanted = "degraded" if isinstance(cause.event, e.PerformanceDegraded) else "drift"
    starts = (await past.bus.spec(state.model)).spec.triggers.on
    if wanted not in starts:
        return f"`triggers.on` of the spec has {', '.join(starts) or 'nothing'}, not {wanted}"
    return "nothing was said of it so far"


async def explained(past: Past, model: str) -> why.Why:
    """Why the champion of a model is live: its run, and what led to it."""
    await past.bus.spec(model)
    crowned = await crownings(past, model, 1)
    if not crowned:
        return why.Why(model=model, champion=0)
    causes = await with_causes(past, model, crowned)
    runs_of = {told.correlation for told in causes} - {""}
    sets = [await of_run(past, model, its, MOST) for its in sorted(runs_of)]
    facts = {told.id: told for told in [*causes, *(told for its in sets for told in its)]}
    return why.explain(model, sorted(facts.values(), key=lambda told: told.seq))


async def _model(past: Past, run_id: str) -> tuple[str, Run | None]:
    """The model of a run, and the run if the registry keeps it."""
    for name, state in past.states().items():
        for run in _kept(state):
            if run.id == run_id:
                return name, run
    its = f"correlation = {text(run_id)}"
    rows = await past.ask(f"SELECT model FROM events WHERE {its} LIMIT 1") if run_id else []
    return (rows[0]["model"] if rows else past.model_of(run_id)), None


def _kept(state: ModelState) -> Sequence[Run]:
    """The runs of a model that the registry keeps."""
    return state.history if state.run is None else (*state.history, state.run)


def _cause(facts: Sequence[Fact]) -> str:
    """The id of what started a run: what its beginning answers, or its first event."""
    begun = next((told for told in facts if isinstance(told.event, e.RetrainRequested)), None)
    if begun is not None:
        return begun.causation
    return facts[0].id if facts else ""


def _link(link: why.Link) -> ChainLink:
    told = link.fact
    return ChainLink(
        depth=link.depth,
        id=told.id,
        seq=told.seq,
        time=told.time,
        kind=told.kind,
        text=told.text,
        causation=told.causation,
    )


def _cpu_seconds(facts: Sequence[Fact]) -> float:
    """What the fits of a run took."""
    made = [told.event for told in facts if isinstance(told.event, e.CandidateTrained)]
    return sum(event.manifest.cpu_seconds for event in made)
