"""One error level for many tests that begin one after the other or run side by side."""

import math
from typing import Final

_FIRST: Final = 6.0 / math.pi**2


def share_of_level(level: float, number: int) -> float:
    """Return the level of test `number` (1, 2, ...): level * 6 / (pi^2 * number^2).

    The shares of all numbers add up to `level` (Euler's sum of 1 / n^2), so by the union bound the
    probability that any of the tests is ever wrong is at most `level`, however many there will be,
    whether they run at once or one because another failed, and however they depend on each other:
    the level of a test is fixed before its first row. Foster and Stine (2008), "Alpha-investing",
    JRSS-B 70, call this alpha spending. Raises ValueError for a level
    outside (0, 1) or a number under 1.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level}; accepted is a number between 0 and 1")
    if number < 1:
        raise ValueError(f"number is {number}; accepted is an integer of at least 1")
    return level * _FIRST / number**2
