"""Numbers, times and money as a report writes them."""

import math
from datetime import UTC, datetime

from driftloop.console.api.shapes import Cost

NONE = "-"
"""What stands where there is nothing to tell."""


def number(value: float) -> str:
    """A number with four significant digits."""
    return f"{value:.4g}"


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"{value:+.4f}"


def count(value: int, what: str) -> str:
    """So many of something; its plural has an s."""
    return f"{value:,} {what}{'' if value == 1 else 's'}"


def minute(iso: str) -> str:
    """An ISO 8601 wall time to the minute; `NONE` for none."""
    if not iso:
        return NONE
    return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M}"


def moment(millis: int) -> str:
    """An event time to the minute; `NONE` for none."""
    return f"{datetime.fromtimestamp(millis / 1000, UTC):%Y-%m-%d %H:%M}" if millis else NONE


def span(seconds: float) -> str:
    """A span of time in its largest sensible unit."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"


def price(its: Cost) -> str:
    """CPU seconds, and money where there is a price."""
    told = f"{its.cpu_seconds:,.1f} CPU s"
    return f"{told}, {money(its)}" if its.money is not None else told


def money(its: Cost) -> str:
    """Money with as many digits as a small sum needs; empty without a price."""
    if its.money is None:
        return ""
    digits = 2
    if 0 < abs(its.money) < 0.1:
        digits = 1 - math.floor(math.log10(abs(its.money)))
    return f"{its.money:,.{digits}f} {its.currency}"


def verdict(its: str) -> str:
    """A verdict as a word or two."""
    return its.replace("_", " ") or "in progress"
