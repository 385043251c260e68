"""How fast rows of the backlog lane are taken while other models send, so that they stay prompt.

On a machine without an idle core a flood slows everything down, whoever goes first in a queue. What
shows it is the time until the log has a live batch. While that is much longer than without a flood,
the flood waits a little longer after each of its batches; while it is not, a little less: additive
steps both ways, at balance when one live batch in `PATIENCE` is slow.
"""

from typing import Final

SLOW: Final = 3.0
"""A live batch is slow if it takes so many times as long as without a flood."""
FIRST_SECONDS: Final = 0.001
"""What a live batch is taken to need before one was measured."""
LEARN: Final = 0.05
STEP_SECONDS: Final = 0.05
MOST_SECONDS: Final = 1.0
PATIENCE: Final = 50.0
"""One slow batch weighs as much as so many prompt ones."""
ALONE_SECONDS: Final = 1.0
"""Without a live batch, or a flood, for so long there is nobody to wait for, or to wait."""


class Pace:
    """The wait after each batch of a flood; times in seconds by the clock of the caller."""

    def __init__(self) -> None:
        self._usual = FIRST_SECONDS
        self._wait = 0.0
        self._live = self._flood = -ALONE_SECONDS

    def live(self, took: float, now: float) -> None:
        """A live batch took so long to be in the log."""
        self._live = now
        if now - self._flood >= ALONE_SECONDS:
            self._usual += LEARN * (min(took, SLOW * self._usual) - self._usual)
            self._wait = 0.0
        elif took > SLOW * self._usual:
            self._wait = min(MOST_SECONDS, self._wait + STEP_SECONDS)
        else:
            self._wait = max(0.0, self._wait - STEP_SECONDS / PATIENCE)

    def flood(self, now: float) -> float:
        """A batch of a flood is in the log; how long its sender waits for the next."""
        self._flood = now
        return self._wait if now - self._live < ALONE_SECONDS else 0.0
