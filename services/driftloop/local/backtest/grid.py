"""Changes of a spec's fields on the command line, and the product of several."""

import itertools
import tomllib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from driftloop.contracts.errors import InvalidInput
from driftloop.modelspec import check
from driftloop.modelspec.spec import Spec

Changes = dict[str, Any]
"""Values by the dotted path of their field."""
MOST: Final = 500
"""Policies of one grid."""


def one(text: str) -> Changes:
    """`drift.alarms_per_million=2` as a change; raises `InvalidInput`."""
    path, value = _parted(text, "--set", "drift.alarms_per_million=2")
    return {path: _value(value)}


def several(text: str) -> tuple[str, list[Any]]:
    """`shadow.margin=0,0.001` as a field and its values; raises `InvalidInput`."""
    path, values = _parted(text, "--grid", "shadow.margin=0,0.001,0.002")
    try:
        return path, list(tomllib.loads(f"v = [{values}]")["v"])
    except tomllib.TOMLDecodeError:  # texts without quotes
        return path, [_value(value.strip()) for value in values.split(",")]


def product(grid: Sequence[str]) -> list[Changes]:
    """Every combination of the values; one of no changes without a grid."""
    axes = [several(text) for text in grid]
    made = [
        dict(zip([path for path, _ in axes], values, strict=True))
        for values in itertools.product(*(values for _, values in axes))
    ]
    if not 0 < len(made) <= MOST:
        raise InvalidInput(f"--grid: {len(made)} policies; accepted: from 1 to {MOST}")
    return made


def changed(spec: Spec, changes: Changes) -> Spec:
    """The spec with these values, checked as a whole; raises `SpecError`."""
    raw = msgspec.to_builtins(spec)
    for path, value in changes.items():
        _set(raw, path, value)
    return check.from_dict(raw)


def told(changes: Changes) -> str:
    """The changes for a person."""
    return ", ".join(f"{path}={_text(value)}" for path, value in changes.items()) or "as it is"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _parted(text: str, option: str, example: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not (path.strip() and equals and value.strip()):
        raise InvalidInput(f"{option}: {text!r} names no field and value; accepted: {example}")
    return path.strip(), value.strip()


def _value(text: str) -> Any:
    """A value as TOML has it; what is none is a text."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def _set(raw: Any, path: str, value: Any) -> None:
    """Put a value where the path leads; `features.NAME.max` finds a feature by its name."""
    *steps, last = path.split(".")
    at = raw
    for step in steps:
        at = _inside(at, step, path)
    if not isinstance(at, dict):
        raise InvalidInput(f"{path}: is no field of the spec; accepted: those of its reference")
    at[last] = value


def _inside(at: Any, step: str, path: str) -> Any:
    if isinstance(at, list | tuple):
        named = {str(one["name"]): one for one in at if isinstance(one, dict)}
    else:
        named = at if isinstance(at, dict) else {}
    if step not in named:
        accepted = ", ".join(map(str, named)) or "nothing below it"
        raise InvalidInput(f"{path}: {step!r} is no field of the spec; accepted: {accepted}")
    return named[step]
