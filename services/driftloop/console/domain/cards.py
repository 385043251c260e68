"""The card of a model: what was heard of it and its state, in one row."""

from collections.abc import Iterable
from typing import Final

import msgspec

from driftloop.console.api.shapes.live import (
    Accounting,
    Alarm,
    Card,
    DriftState,
    Paused,
    RunNow,
    Silenced,
)
from driftloop.console.domain.live import Live
from driftloop.console.domain.standing import Stands
from driftloop.console.domain.times import iso
from driftloop.console.domain.trouble import SUSPICIOUS, summed, tone, troubles
from driftloop.contracts.state import ModelState, Silence

MOST_ALARMS: Final = 5


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a card says of a model's spec."""

    task: str = ""
    loss: str = ""


class Audited(msgspec.Struct, frozen=True, kw_only=True):
    """What the newest audit of a model found; `missing` rows are those that were not accounted for.

    `at` is when it ended (seconds since 1970).
    """

    state: Accounting = "unknown"
    missing: int = 0
    at: float = 0.0


NOBODY: Final = About()
NEVER: Final = Audited()


def card(live: Live, state: ModelState, about: About, audited: Audited, now: float) -> Card:
    """The card at `now` (seconds since 1970)."""
    missing = audited.missing if audited.state == "open" else None
    trouble, text = summed(troubles(live, state, missing, now))
    alarms = [_alarm(its, state, now) for its in list(live.alarms)[: -MOST_ALARMS - 1 : -1]]
    trend = [_digits(value) for value in live.loss.points]
    return Card(
        name=state.model,
        task=about.task,
        champion=state.champion,
        champion_since=_since(live, state),
        rate=_digits(live.scored.per_second(now)),
        p99_ms=live.p99_ms,
        loss=trend[-1] if trend else None,
        loss_name=about.loss,
        loss_trend=trend,
        drift=_drift(alarms, live.share),
        drift_share=round(live.share, 3),
        run=_run(state),
        accounting=audited.state,
        missing=audited.missing if audited.state == "open" else 0,
        audited=iso(audited.at),
        alarms=alarms,
        silences=[_silenced(its) for its in state.silences if now < its.until],
        paused=_paused(state),
        waiting=state.waiting.version if state.waiting is not None else 0,
        trouble=trouble,
        tone=tone(trouble),
        trouble_text=text,
    )


def ordered(cards: Iterable[Card], search: str = "") -> list[Card]:
    """Cards whose name, trouble or run has the text, the worst first, then by name."""
    wanted = search.lower().strip()
    found = [its for its in cards if not wanted or _found(its, wanted)]
    return sorted(found, key=lambda its: (-its.trouble, its.name))


def _found(its: Card, wanted: str) -> bool:
    run = f"{its.run.id} {its.run.stage}" if its.run is not None else ""
    return wanted in f"{its.name} {its.task} {its.trouble_text} {run}".lower()


def _since(live: Live, state: ModelState) -> str:
    crowned = live.crowned
    same = crowned is not None and getattr(crowned.event, "version", 0) == state.champion
    return crowned.time if crowned is not None and same else ""


def _drift(alarms: list[Alarm], share: float) -> DriftState:
    if alarms:
        return "alarm"
    return "suspected" if share >= SUSPICIOUS else "calm"


def _run(state: ModelState) -> RunNow | None:
    run = state.run
    if run is None:
        return None
    return RunNow(
        id=run.id,
        stage=run.stage,
        trigger=run.trigger,
        started=iso(run.started),
        version=run.version,
    )


def _paused(state: ModelState) -> Paused | None:
    its = state.paused
    return None if its is None else Paused(by=its.by, reason=its.reason, since=iso(its.since))


def _silenced(its: Silence) -> Silenced:
    return Silenced(detector=its.detector, by=its.by, reason=its.reason, until=iso(its.until))


def _alarm(its: Stands, state: ModelState, now: float) -> Alarm:
    silence = state.silenced(its.detector, now) if state.silences else None
    return Alarm(
        id=its.id,
        kind=its.kind,
        detector=its.detector,
        text=its.text,
        time=its.time,
        data_time=its.data_time,
        since_time=its.since_time,
        silenced_until=iso(silence.until) if silence is not None else "",
    )


def _digits(value: float) -> float:
    """Four significant digits: what moves less is no news."""
    return float(f"{value:.4g}")
