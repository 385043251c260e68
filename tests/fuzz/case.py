"""What a door is sent and what comes back."""

from random import Random
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

SECONDS: Final = 60.0
"""After so long without an answer a door hangs."""
CONTROL: Final = "control"
"""The model of the good requests; nothing wrong is said about it."""
TARGET: Final = "target"
"""The model wrong inputs are about."""

Kind = Literal["taken", "refused", "closed", "busy", "late"]
"""Taken: the door took it, for it was good after all, or is judged later (a stream). Closed: the
door hung up without a word. Busy: 503 with a time to try again. Late: the caller's own deadline."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One input, as it is kept when it is found to do harm."""

    how: str
    """Which way of the door makes it."""
    target: str = ""
    """Path, subject or the like."""
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Result(NamedTuple):
    """What a door did with a case; `problem` says what is wrong with that."""

    kind: Kind
    problem: str = ""


class Door(Protocol):
    """A way into the system."""

    name: str
    share: float
    """Of all inputs, so many go here."""
    at_once: int

    def make(self, random: Random) -> Case:
        """A case; the same numbers make the same case."""
        ...

    async def send(self, scene: Any, case: Case) -> Result:
        """Send it, and judge the answer."""
        ...


def judged(status: int, headers: dict[str, str], body: bytes) -> Result:
    """What an HTTP answer means: no 5xx is right but 503 with Retry-After and a deadline's 504."""
    if status == 503 and "retry-after" in headers:
        return Result("busy")
    if status == 504:
        return Result("late")
    if status in (501, 505) and b"accepted" in body:  # of the protocol itself: RFC 9110, 15.6
        return Result("refused")
    if status >= 500:
        return Result("refused", f"status {status}: {body[:300]!r}")
    if b"internal error" in body:
        return Result("refused", f"status {status} tells of an internal error: {body[:300]!r}")
    return Result("taken" if status < 400 else "refused")
