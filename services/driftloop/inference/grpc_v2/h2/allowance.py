"""How many frames a peer may send that bring no work done: floods end, busy clients do not.

Pings, settings, window updates, tiny pieces of data and resets cost the server time and ask for no
answer. Each takes from an allowance; answers given and bytes carried put into it, and so does time.
A reset costs what the answer of a call brings (CVE-2023-44487 is a flood of calls reset at once).
"""

import time
from typing import Final

from driftloop.inference.grpc_v2.h2.frames import Code, PeerFault

FRAME: Final = 1
"""What a frame without work costs."""
CALL: Final = 4
"""What an answered call brings, and what one reset before its answer costs."""
TINY: Final = 256
"""Bytes of data that are worth a frame."""


class Allowance:
    """The allowance of one connection."""

    __slots__ = ("_most", "_since", "_speed", "left")

    def __init__(self, most: int, a_second: int) -> None:
        self._most = most
        self._speed = a_second
        self._since = time.perf_counter()
        self.left = most

    def spend(self, cost: int) -> None:
        """Take from it; raises `PeerFault` when it is used up. The clock is read only then."""
        self.left -= cost
        if self.left < 0:
            now = time.perf_counter()
            self.earn(int((now - self._since) * self._speed))
            self._since = now
            if self.left < 0:
                raise PeerFault(Code.ENHANCE_YOUR_CALM, "too many frames that ask for nothing")

    def earn(self, by: int) -> None:
        """Put into it."""
        self.left = min(self._most, self.left + by)
