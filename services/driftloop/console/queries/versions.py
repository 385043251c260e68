"""The versions of a model: one in full, with what it was made of and how it did."""

from collections.abc import Sequence
from typing import Final

from driftloop.console.api.shapes import VersionDetail, Versions
from driftloop.console.domain.cost import cost
from driftloop.console.domain.page import version_short
from driftloop.console.domain.times import iso
from driftloop.console.queries.facts import crownings, select
from driftloop.console.queries.losses import loss_sql
from driftloop.console.queries.past import Past
from driftloop.contracts import events as e
from driftloop.contracts import state as states
from driftloop.contracts import subjects
from driftloop.contracts.facts import Fact
from driftloop.contracts.manifest import Dataset
from driftloop.contracts.sql import text
from driftloop.contracts.why import CROWNED
from driftloop.modelspec.spec import Spec
from driftloop.runtime.problems import NotFound

MOST: Final = 1_000
"""Events of one version, and changes of the champion, that are read: the newest."""
LIVE_SECONDS: Final = 30.0
"""The mean loss of all rows that a version answered may be so old."""


async def versions(past: Past, model: str) -> Versions:
    """The versions that the registry keeps: the newest 100, and those it still needs."""
    state = await past.state(model)
    found = sorted(state.versions.items(), reverse=True)
    return Versions(model=model, versions=[version_short(its) for _, its in found])


async def version(past: Past, model: str, number: int) -> VersionDetail:
    """One version; raises `NotFound` if there is none of that number."""
    state = await past.state(model)
    found = await known(past, state, number)
    facts = await _facts(past, model, found)
    begun = next((f.event for f in facts if isinstance(f.event, e.RetrainRequested)), None)
    ended = next((f.event for f in facts if isinstance(f.event, e.RunFinished)), None)
    crowned = await crownings(past, model, MOST)
    trained = next((f.time for f in facts if f.kind == e.CandidateTrained.kind), "")
    first, last = await _happened(past, model, found.manifest.train)
    loss, rows = await _live(past, (await past.bus.spec(model)).spec, number)
    return VersionDetail(
        short=version_short(found),
        manifest=found.manifest,
        manifest_sha256=found.manifest_sha256,
        gates=list(found.gates),
        trained=trained,
        train_from=await _stored(past, model, found.manifest.train, last=False),
        train_until=await _stored(past, model, found.manifest.train, last=True),
        previous=_previous(crowned, number),
        trigger=begun.trigger if begun else "",
        reason=begun.reason if begun else "",
        verdict=ended.verdict if ended else "",
        outcome=ended.reason if ended else "",
        signed=bool(found.signature),
        reigns=reigns(crowned, number),
        live_loss=loss,
        live_rows=rows,
        cost=cost(found.manifest.cpu_seconds, past.price),
        facts=[told.id for told in facts],
        train_from_time=first,
        train_until_time=last,
    )


async def known(past: Past, state: states.ModelState, number: int) -> states.Version:
    """A version as the registry keeps it, or as the events of long ago tell it."""
    if number in state.versions:
        return state.versions[number]
    if 0 < number < state.next_version:
        its = f"JSONExtractInt(body, 'version') = {number}"
        facts = await select(past, state.model, f"kind LIKE 'candidate.%' AND {its}", 10)
        if (found := _told(facts)) is not None:
            return found
    newest = max(state.versions, default=0)
    accepted = f"1 to {newest}" if newest else "none yet"
    raise NotFound(f"version: {state.model} has no version {number}; accepted: {accepted}")


def _told(facts: Sequence[Fact]) -> states.Version | None:
    """A version that the registry keeps no more."""
    made = next((f.event for f in facts if isinstance(f.event, e.CandidateTrained)), None)
    if made is None:
        return None
    judged = [
        f.event for f in facts if isinstance(f.event, e.CandidateApproved | e.CandidateRejected)
    ]
    approved = bool(judged) and isinstance(judged[-1], e.CandidateApproved)
    return states.Version(
        manifest=made.manifest,
        manifest_sha256=made.manifest_sha256,
        run=made.run,
        stage="retired" if approved else "rejected",
        gates=judged[-1].gates if judged else (),
        signature=made.signature,
    )


async def _facts(past: Past, model: str, found: states.Version) -> list[Fact]:
    """The events of its run, and those of other runs that are about it."""
    about = f"JSONExtractInt(body, 'version') = {found.manifest.version}"
    where = f"(correlation = {text(found.run)} OR {about})"
    return await select(past, model, where, MOST, lambda told: _is_about(told, found))


def _is_about(told: Fact, found: states.Version) -> bool:
    its = getattr(told.event, "version", 0) == found.manifest.version
    return its or told.correlation == found.run


def reigns(crowned: Sequence[Fact], number: int) -> list[tuple[str, str]]:
    """From when until when a version was champion; "" as long as it is."""
    ends = [told.time for told in crowned[1:]] + [""]
    return [
        (told.time, end)
        for told, end in zip(crowned, ends, strict=True)
        if isinstance(told.event, CROWNED) and told.event.version == number
    ]


def _previous(crowned: Sequence[Fact], number: int) -> int:
    """The champion before it, when it became champion first; 0 if it never did."""
    for told in crowned:
        if isinstance(told.event, CROWNED) and told.event.version == number:
            return told.event.previous
    return 0


async def _stored(past: Past, model: str, data: Dataset, *, last: bool) -> str:
    """When the first or the last batch of a dataset was stored, by the clock of the log."""
    seq = data.last_seq if last else data.first_seq
    found = await past.bus.log.at_or_after(data.stream, subjects.outcomes(model), seq)
    return iso(found.time) if found is not None and found.seq == seq else ""


async def _happened(past: Past, model: str, data: Dataset) -> tuple[int, int]:
    """The first and the newest event time of a dataset of OUTCOMES; zeros if none is there."""
    time = "toUnixTimestamp64Milli(event_time)"
    sql = (
        f"SELECT min({time}) AS first, max({time}) AS last FROM outcomes"
        f" WHERE model = {text(model)} AND seq BETWEEN {data.first_seq} AND {data.last_seq}"
    )
    (row,) = await past.ask(sql, LIVE_SECONDS)
    return row["first"], row["last"]


async def _live(past: Past, spec: Spec, number: int) -> tuple[float | None, int]:
    """Mean loss of all labelled rows that it answered as champion, and how many they are."""
    sql = (
        f"SELECT avg(its) AS loss, count(its) AS rows FROM"
        f" (SELECT {loss_sql(spec, 'answer')} AS its FROM outcomes FINAL"
        f" WHERE model = {text(spec.name)} AND version = {number})"
    )
    (row,) = await past.ask(sql, LIVE_SECONDS)
    return row["loss"], row["rows"]
