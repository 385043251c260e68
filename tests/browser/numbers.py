"""Numbers as the pages write them, said once more in Python: what a page shows is checked by it."""

import math
from typing import Final

NONE: Final = "\u2013"
MINUS: Final = "\u2212"
NARROW: Final = "\u202f"


def count(value: float | None) -> str:
    """12,345."""
    return NONE if value is None else f"{value:,.0f}"


def many(value: int, one: str, more: str = "") -> str:
    """1 row, 2 rows."""
    return f"{count(value)} {one if value == 1 else more or one + 's'}"


def rate(value: float) -> str:
    """7.2, 1,204."""
    return f"{value:,.{1 if 0 < value < 9.95 else 0}f}"


def loss(value: float | None) -> str:
    """0.1482."""
    if value is None:
        return NONE
    size = abs(value)
    return f"{value:,.{4 if size < 10 else 2 if size < 1000 else 0}f}"


def number(value: float | None) -> str:
    """Four significant digits."""
    if value is None:
        return NONE
    if value and (abs(value) < 1e-4 or abs(value) >= 1e9):
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}e{int(exponent):+d}".replace("-", MINUS, 1)
    digits = 4 - 1 - math.floor(math.log10(abs(value))) if value else 0
    told = f"{round(value, digits):.{max(0, digits)}f}"
    told = told.rstrip("0").rstrip(".") if "." in told else told
    return told.replace("-", MINUS)


def signed(value: float | None) -> str:
    """+0.0113."""
    return NONE if value is None else f"{MINUS if value < 0 else '+'}{abs(value):.4f}"


def percent(share: float) -> str:
    """12 %, 0.4 %."""
    value = 100 * share
    return f"{value:,.{1 if 0 < value < 9.95 else 0}f}{NARROW}%"


def millis(value: float | None) -> str:
    """7.21 ms, 83 ms, 2.1 s."""
    if value is None:
        return NONE
    if value >= 1000:
        return f"{value / 1000:,.1f}{NARROW}s"
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}{NARROW}ms"


def megabytes(value: float) -> str:
    """148 MB, 1.2 GB."""
    return f"{value / 1000:,.1f}{NARROW}GB" if value >= 1000 else f"{value:.0f}{NARROW}MB"


def duration(seconds: float) -> str:
    """12.3 s, 4 min 05 s, 2 h 07 min."""
    if seconds < 60:
        return f"{max(0.0, seconds):.1f}{NARROW}s"
    whole = math.floor(seconds + 0.5)
    if whole < 3600:
        return f"{whole // 60}{NARROW}min {whole % 60:02d}{NARROW}s"
    return f"{whole // 3600}{NARROW}h {whole % 3600 // 60:02d}{NARROW}min"


def words(name: str) -> str:
    """A name as words."""
    return name.replace("_", " ")
