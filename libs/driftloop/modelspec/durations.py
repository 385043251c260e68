"""Durations as people write them."""

import re
from typing import Final

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_FORM: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd])\Z")
ACCEPTED: Final = "a number and a unit out of s, m, h, d, for example '90s' or '7d'"


def seconds(text: str) -> float:
    """`90s`, `30m`, `12h`, `7d` in seconds; raises `ValueError` for anything else."""
    found = _FORM.match(text)
    if not found:
        raise ValueError(f"{text!r} is not a duration; accepted: {ACCEPTED}")
    return float(found[1]) * _UNITS[found[2]]


def milliseconds(text: str) -> int:
    """The same in whole milliseconds."""
    return round(seconds(text) * 1000)
