"""How often and when a message is tried again, and the client's errors as ours."""

import contextlib
from collections.abc import Iterator

from nats.errors import Error as NatsError

from driftloop.contracts.errors import Retry

MAX_ATTEMPTS = 8
FIRST_SECONDS = 1.0
LAST_SECONDS = 30.0


def given_up(attempt: int) -> bool:
    """Whether this attempt (1 is the first) was the last."""
    return attempt >= MAX_ATTEMPTS


def backoff(attempt: int) -> float:
    """Seconds until the next attempt: doubled each time, to a limit."""
    return min(FIRST_SECONDS * 2.0 ** (attempt - 1), LAST_SECONDS)


@contextlib.contextmanager
def transient(what: str) -> Iterator[None]:
    """Turn an error of the client, which services do not know, into `Retry`."""
    try:
        yield
    except NatsError as error:
        raise Retry(
            f"{what}: the broker does not answer ({error or type(error).__name__})"
        ) from error
