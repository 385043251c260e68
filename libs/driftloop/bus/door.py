"""Requests that wait to be answered: subjects in turn, and bounded in bytes.

Whoever asks most is told first to come again: beyond the bound the newest request of the subject
that holds most is refused at once, and so is what has waited too long. A flood of requests about
one model neither delays nor crowds out those about others, and nobody waits for an answer that
never comes.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

from driftloop.bus.wire import Heard

MOST_BYTES: Final = 32 << 20
"""Of requests that wait. A single larger one waits alone."""
MOST_SECONDS: Final = 2.0
"""Who waited longer than this will not wait for the answer either: callers give up after 5 seconds
by default, and ask again."""


class Queue:
    """What waits; `bytes` of it in all. Times are seconds by the clock of the caller."""

    def __init__(self, most_bytes: int = MOST_BYTES, most_seconds: float = MOST_SECONDS) -> None:
        self.bytes = 0
        self._most = most_bytes
        self._longest = most_seconds
        self._waiting: dict[bytes, deque[tuple[Heard, float]]] = {}
        self._held: dict[bytes, int] = {}

    def put(self, request: Heard, now: float) -> None:
        """Add a request."""
        subject, size = request[0], _size(request)
        self._waiting.setdefault(subject, deque()).append((request, now))
        self._held[subject] = self._held.get(subject, 0) + size
        self.bytes += size

    def take(self, busy: Mapping[bytes, int], most: int) -> Heard | None:
        """The next request of a subject with fewer than `most` under way; None if there is none."""
        for subject, requests in self._waiting.items():
            if busy.get(subject, 0) < most:
                request, _ = requests.popleft()
                self._took(request)
                if requests:  # its next one goes after those of the others
                    self._waiting[subject] = self._waiting.pop(subject)
                return request
        return None

    def excess(self, now: float) -> Iterator[Heard]:
        """Take out what is to be refused: what has waited too long, and what is too much."""
        for requests in list(self._waiting.values()):
            while requests and now - requests[0][1] > self._longest:
                request, _ = requests.popleft()
                self._took(request)
                yield request
        while self.bytes > self._most:
            subject = max(self._held, key=self._held.__getitem__)
            if len(self._held) == len(self._waiting[subject]) == 1:
                return
            request, _ = self._waiting[subject].pop()
            self._took(request)
            yield request

    def _took(self, request: Heard) -> None:
        subject, size = request[0], _size(request)
        self.bytes -= size
        self._held[subject] -= size
        if not self._waiting[subject]:
            del self._held[subject], self._waiting[subject]


def _size(request: Heard) -> int:
    return len(request[2]) + len(request[3])
