"""How fast the rows of a flood are taken while others ask too, so that these stay prompt.

On a machine without an idle core a flood slows everything down, whoever goes first in a queue. What
shows it is how long something small takes that is done all the time: until the log has a batch, or
until the event loop turns. Its 99th percentile without a flood is learned. While more than one such
time in a hundred is above 1.2 times that, the flood waits a little longer after each of its rows;
while fewer are, a little less: additive steps both ways. In its first second it waits anyhow: what
it costs the others is known only when it has cost them something.
"""

from typing import Final

SLOW: Final = 1.2
"""What others ask for is slow if it takes so many times as long as the slowest in a hundred do
alone."""
FIRST_SECONDS: Final = 0.001
"""What these are taken to need before one was measured."""
SHARE: Final = 0.01
LEARN: Final = 0.1
UNIT: Final = 1_000
"""Rows that the following waits are for."""
STEP_SECONDS: Final = 0.01
MOST_SECONDS: Final = 0.125
FIRST_WAIT_SECONDS: Final = 0.05
"""The least wait in the first second of a flood."""
ALONE_SECONDS: Final = 1.0
"""When nobody else has asked, or no flood has come, for so long, there is none."""


class Pace:
    """The wait after the rows of a flood; times in seconds by the clock of the caller."""

    def __init__(self) -> None:
        self._usual = FIRST_SECONDS
        self._wait = 0.0
        self._live = self._flood = self._began = -ALONE_SECONDS

    def live(self, took: float, now: float) -> None:
        """What somebody else asked for took so long."""
        self._live = now
        if now - self._flood >= ALONE_SECONDS:
            # Steps up and down that are even where one in a hundred is above: a quantile by
            # stochastic approximation (Robbins and Monro, 1951), in proportion to itself.
            self._usual *= 1 + LEARN * ((took > self._usual) - SHARE)
            self._wait = 0.0
        elif took > SLOW * self._usual:
            if self._wait >= MOST_SECONDS:  # it is not the flood that makes them slow
                self._usual *= 1 + LEARN
            self._wait = min(MOST_SECONDS, self._wait + STEP_SECONDS)
        else:
            self._wait = max(0.0, self._wait - STEP_SECONDS * SHARE)

    def alone(self, now: float) -> bool:
        """Whether nobody else has asked for anything lately."""
        return now - self._live >= ALONE_SECONDS

    def flood(self, rows: int, now: float) -> float:
        """So many rows of a flood were taken; how long it waits before the next."""
        if now - self._flood >= ALONE_SECONDS:
            self._began = now
        self._flood = now
        if self.alone(now):
            return 0.0
        first = FIRST_WAIT_SECONDS if now - self._began < ALONE_SECONDS else 0.0
        return max(self._wait, first) * rows / UNIT
