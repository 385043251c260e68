"""Errors as gRPC statuses, by their numbers."""

import logging
from enum import IntEnum
from typing import Final

from driftloop.contracts.errors import (
    DeadlineExceeded,
    DriftloopError,
    Overloaded,
    Reject,
    Retry,
    UnknownModel,
)
from driftloop.runtime import problems

log = logging.getLogger(__name__)

TEXT_BYTES: Final = 1_000
"""Longest text of a status: it travels in the trailers, which clients bound at 8 KiB."""

INTERNAL_TEXT: Final = "internal error"


class Status(IntEnum):
    """Status codes of gRPC that are sent."""

    OK = 0
    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class NotOffered(DriftloopError):
    """A method of the standard that this server does not have."""


class TooLarge(DriftloopError):
    """A message over the bound, or one too many at a time."""


STATUS: Final[tuple[tuple[type[DriftloopError], Status], ...]] = (
    (NotOffered, Status.UNIMPLEMENTED),
    (TooLarge, Status.RESOURCE_EXHAUSTED),
    (problems.TooLarge, Status.RESOURCE_EXHAUSTED),
    (problems.TooFast, Status.RESOURCE_EXHAUSTED),
    (problems.NotAuthenticated, Status.UNAUTHENTICATED),
    (problems.NotPermitted, Status.PERMISSION_DENIED),
    (UnknownModel, Status.NOT_FOUND),
    (Overloaded, Status.RESOURCE_EXHAUSTED),
    (Retry, Status.UNAVAILABLE),
    (Reject, Status.INVALID_ARGUMENT),
    (DeadlineExceeded, Status.DEADLINE_EXCEEDED),
)
"""First match wins; any other error is INTERNAL."""


def status_of(error: BaseException) -> Status:
    """The status that says the same as the error."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), Status.INTERNAL)


def text_of(error: BaseException) -> str:
    """What the caller is told: our own errors as they are, a bug without its details."""
    text = str(error) if isinstance(error, DriftloopError) else INTERNAL_TEXT
    return text.encode()[:TEXT_BYTES].decode(errors="ignore")


def trailers_of(error: BaseException) -> tuple[tuple[str, str], ...]:
    """After how long to come back, where the error knows it (gRFC A6, retry pushback)."""
    if isinstance(error, Retry):
        return (("grpc-retry-pushback-ms", str(max(1, round(error.delay * 1000)))),)
    return ()


def note(method: str, error: BaseException) -> None:
    """Log an error whose cause is ours and not the caller's."""
    if status_of(error) is Status.INTERNAL:
        log.error("%s: %s", method, error, exc_info=error)
