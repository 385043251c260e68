"""Which services `up` may start several of, and how a user says so."""

from collections.abc import Mapping, Sequence
from typing import Final

from driftloop.contracts.errors import InvalidInput
from driftloop.runtime.settings import SERVICES

MOST: Final = 16
"""Replicas of one service on one machine."""
ALONE: Final[Mapping[str, str]] = {
    "trainer": "it takes one request after the other, so that a second one would never be asked",
    "registry": "it alone moves models, one event after the other; a second one would not help",
    "telemetry": "its tables are in a folder for one process alone (chDB)",
    "console": "each would show a page of its own",
}
"""Services of which there is one, and why."""
SEVERAL: Final = tuple(name for name in SERVICES if name not in ALONE)


def parse(texts: Sequence[str]) -> dict[str, int]:
    """Replicas by service, from texts as `inference=2` and `inference=2,feedback=2`.

    Raises `InvalidInput` naming the text and what is accepted.
    """
    found: dict[str, int] = {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        service, _, count = (word.strip() for word in part.partition("="))
        if not (count.isascii() and count.isdigit()):
            raise _refused(part, f"SERVICE=COUNT, comma between several, COUNT from 1 to {MOST}")
        if service in found:
            raise _refused(part, f"each service once; {service}={found[service]} was before")
        found[service] = int(count)
    return checked(found)


def checked(replicas: Mapping[str, int]) -> dict[str, int]:
    """The same replicas; raises `InvalidInput` for a service that is unknown or has one only."""
    for service, count in replicas.items():
        part = f"{service}={count}"
        if service not in SERVICES:
            raise _refused(part, f"one of the services {', '.join(SEVERAL)}")
        if not 1 <= count <= MOST:
            raise _refused(part, f"{service} from 1 to {MOST}")
        if count > 1 and service in ALONE:
            why = ALONE[service]
            raise _refused(part, f"{service}=1, {why}; several of {', '.join(SEVERAL)}")
    return dict(replicas)


def name_of(service: str, number: int) -> str:
    """The name of a replica, the first is number 1: `inference`, `inference-2`."""
    return service if number == 1 else f"{service}-{number}"


def _refused(part: str, accepted: str) -> InvalidInput:
    return InvalidInput(f"replicas: {part!r}; accepted: {accepted}")
