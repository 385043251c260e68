"""One HTTP/2 stream, which is one call of gRPC: what has come of it, and what is still to go."""

from collections import deque
from typing import Any, NamedTuple, Protocol

from driftloop.inference.grpc_v2.asked import Answer


class Head(NamedTuple):
    """What the request's fields say of a call.

    `timeout` in seconds, 0.0 is none. A `status` other than 0 refuses the call with `text`.
    """

    method: str = ""
    timeout: float = 0.0
    encoding: str = "identity"
    status: int = 0
    text: str = ""
    many: bool = False


class Slot:
    """A place in the order of a streaming call's answers; `answer` is None until it is there."""

    __slots__ = ("answer", "asked", "id")

    def __init__(self) -> None:
        self.id = ""
        self.asked = False
        self.answer: Answer | None = None


class Stream:
    """The state of one call."""

    __slots__ = (
        *("backlog", "credit", "data", "deadline", "ended", "gone", "head", "id", "order"),
        *("started", "taken", "trailers"),
    )

    def __init__(self, id: int, head: Head) -> None:
        self.id = id
        self.head = head
        self.deadline = 0.0
        """On the clock of `time.perf_counter`; 0.0 is none."""
        self.data = bytearray()
        """Bytes of messages that are not complete, or wait their turn."""
        self.ended = False
        """The caller has sent all."""
        self.gone = False
        """The caller wants no answer any more."""
        self.started = False
        """The first fields of the answer are sent."""
        self.credit = 0
        """What the caller has added to, and our answer taken from, the first window."""
        self.backlog = bytearray()
        """Bytes of the answer that the windows hold back."""
        self.trailers: bytes | None = None
        """The end of the answer, sent after the backlog; empty is the end of one that went well."""
        self.taken = 0
        """Bytes of `data` handed on since the caller was last given room for more."""
        self.order: deque[Slot] = deque()
        """Answers of a streaming call that are not sent yet, in the order of their requests."""


class Limits(NamedTuple):
    """Bounds: of a message; of a connection's calls under way and unread bytes; of connections."""

    message_bytes: int
    calls: int = 1_024
    unread_bytes: int = 1 << 28
    connections: int = 1_024


class Calls(Protocol):
    """What is done with the calls of a connection."""

    def head(self, fields: dict[str, str]) -> Head:
        """What the fields of a request say."""

    def whole(self, connection: Any, stream: Stream, data: bytes) -> None:
        """All of a call with one message is there: `data`, with the prefix that gRPC puts."""

    def more(self, connection: Any, stream: Stream) -> None:
        """There is more in `stream.data`, or the caller has sent all."""

    def excess(self, connection: Any, stream: Stream) -> None:
        """The unread bytes of the connection are over the bound."""
