"""What an operator holds back: the loop of a model, and the noise of its alarms."""

import math
from typing import Final

import msgspec

from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.events import OperatorRequested, Trigger
from driftloop.contracts.facts import clock
from driftloop.contracts.requests import Done
from driftloop.contracts.state import Paused, Silence
from driftloop.registry.domain.decision import Decision

MOST_SECONDS: Final = 30 * 86_400.0
MOST_SILENCES: Final = 32
"""Silences of a model at once; what is over does not count."""
MOST_TEXT: Final = 200


def pause(decision: Decision, asked: OperatorRequested) -> Done:
    """From now on only an operator starts a run; one in progress goes on. Raises `InvalidInput`."""
    state = decision.state
    if state.paused is not None:
        raise InvalidInput(
            f"pause: {_told(state.paused)}; accepted: when `driftloop resume {state.model}` was"
            " asked for"
        )
    paused = Paused(by=asked.by, reason=asked.reason, since=decision.context.now)
    decision.change(paused=paused)
    run = f"; {state.run.id} ({state.run.stage}) goes on" if state.run is not None else ""
    return Done(text=f"the loop of {state.model} is paused{run}")


def resume(decision: Decision, asked: OperatorRequested) -> Done:
    """Triggers start runs again, also one that waited. Raises `InvalidInput`."""
    state = decision.state
    if state.paused is None:
        raise InvalidInput(
            f"{asked.command}: the loop of {state.model} is not paused; accepted: after a pause"
        )
    declined = state.paused.declined
    decision.change(paused=None)
    text = f"the loop of {state.model} goes on"
    if declined:
        were = "trigger was" if declined == 1 else "triggers were"
        text += f"; {declined:,} {were} declined while it was paused: ask for a retrain if need be"
    return Done(text=text)


def declines(decision: Decision, trigger: Trigger) -> str:
    """Why a trigger starts no run now; empty if it may. What is declined is counted."""
    paused = decision.state.paused
    if paused is None or trigger == "operator":
        return ""
    decision.change(paused=msgspec.structs.replace(paused, declined=paused.declined + 1))
    return _told(paused)


def until(seconds: float, now: float) -> float:
    """When a silence of so many seconds ends; 0 for one that ends now. Raises `InvalidInput`."""
    if not math.isfinite(seconds) or not 0 <= seconds <= MOST_SECONDS:
        raise InvalidInput(
            f"seconds: {seconds:g} is no length of a silence; accepted: above 0, up to"
            f" {MOST_SECONDS:g}, or 0 to end one"
        )
    return now + seconds if seconds else 0.0


def silence(decision: Decision, asked: OperatorRequested) -> Done:
    """Alarms of a detector, or all, are not to be heard for a while, or are again.

    A silence takes the place of the one of the same detector. Raises `InvalidInput`.
    """
    state, now = decision.state, decision.context.now
    if len(asked.detector) > MOST_TEXT or not asked.detector.isprintable():
        raise InvalidInput(
            f"detector: {asked.detector[:80]!r}; accepted: up to {MOST_TEXT} printable characters"
        )
    about = f"{asked.detector} of {state.model}" if asked.detector else state.model
    live = tuple(its for its in state.silences if now < its.until)
    others = tuple(its for its in live if its.detector != asked.detector)
    if not asked.until:
        if others == live:
            known = ", ".join(its.detector or "all alarms" for its in live) or "none is"
            raise InvalidInput(
                f"detector: alarms of {about} are not silenced; accepted: what is: {known}"
            )
        decision.change(silences=others)
        return Done(text=f"alarms of {about} are heard again")
    if len(others) >= MOST_SILENCES:
        raise InvalidInput(
            f"detector: {len(others)} silences of {state.model}; accepted: below {MOST_SILENCES},"
            " or one of all its alarms"
        )
    made = Silence(
        detector=asked.detector, by=asked.by, reason=asked.reason, since=now, until=asked.until
    )
    decision.change(silences=(*others, made))
    return Done(text=f"alarms of {about} are silenced until {clock(int(made.until * 1_000))} UTC")


def _told(paused: Paused) -> str:
    return f"paused by {paused.by} since {clock(int(paused.since * 1_000))}: {paused.reason}"
