"""Shapes of runs: a list, and one with its stages, its causal chain and its raw events."""

import msgspec

from driftloop.console.api.shapes.model import RunShort, StepState
from driftloop.console.api.shapes.versions import Cost
from driftloop.contracts.facts import Fact


class RunList(msgspec.Struct, frozen=True, kw_only=True):
    """Runs, newest first; `more` says whether there are older ones than asked for."""

    runs: list[RunShort]
    more: bool = False


class StageDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a run: how long it took, what came of it, and the ids of its events.

    `seconds` is up to now for the one in progress, None for one not begun.
    """

    name: str
    state: StepState
    started: str
    ended: str
    seconds: float | None
    text: str
    facts: list[str]


class ChainLink(msgspec.Struct, frozen=True, kw_only=True):
    """An event of the causal chain: `depth` steps after the first cause, which is 0."""

    depth: int
    id: str
    seq: int
    time: str
    kind: str
    text: str
    causation: str = ""


class RunDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A run in full. `chain` begins with what started it; `facts` are its events in log order."""

    run: RunShort
    cause: str
    since_time: int
    asked_by: str
    stages: list[StageDetail]
    chain: list[ChainLink]
    facts: list[Fact]
    cost: Cost
