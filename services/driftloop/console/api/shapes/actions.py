"""Shapes of what an operator orders, and of the check of a spec."""

from typing import Annotated

import msgspec


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator wants, why, and who it is (a token's name takes precedence over `by`).

    `version` is for promote, challenge, approve and deny. `detector` and `seconds` are for silence:
    which detector of the model ("" is all), and for how long.
    """

    reason: str = ""
    version: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)] = 0
    by: str = "console"
    detector: str = ""
    seconds: Annotated[int, msgspec.Meta(ge=0)] = 0


class SpecText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A spec as TOML; `revision` is the one that was edited, and has to be the newest still."""

    text: str
    revision: int = 0
    reason: str = ""
    by: str = "console"


class Requeue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which rows of quarantine are sent again: those whose reason has `containing` in it."""

    model: str
    containing: str = ""
    reason: str = ""
    by: str = "console"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a field of a spec, its value, and what is accepted."""

    field: str
    value: str
    accepted: str
    text: str


class DiffLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a diff: `sign` is " ", "-" or "+"."""

    sign: str
    text: str


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What a spec would change. `notes` are worth a look and do not forbid it."""

    ok: bool
    revision: int
    problems: list[Problem]
    diff: list[DiffLine]
    notes: list[str] = []
