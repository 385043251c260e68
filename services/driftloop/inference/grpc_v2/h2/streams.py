"""One HTTP/2 stream, which is one call of gRPC: what has come of it, and what is still to go."""

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from driftloop.inference.grpc_v2.asked import Answer
from driftloop.inference.grpc_v2.h2.heads import Head
from driftloop.inference.grpc_v2.h2.hpack import Fields
from driftloop.runtime.access import Right

if TYPE_CHECKING:
    from driftloop.inference.grpc_v2.h2.intake import Intake

_NO_BYTES = b""


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
        *("backlog", "credit", "data", "deadline", "ended", "gone", "head", "held", "id"),
        *("intake", "moved", "order", "right", "since", "slow", "started", "taken", "trailers"),
    )

    def __init__(self, id: int, head: Head, intake: "Intake") -> None:
        self.id = id
        self.head = head
        self.intake = intake
        """What it came by, with the writer for its answer."""
        self.deadline = 0.0
        """On the clock of `time.perf_counter`; 0.0 is none."""
        self.data: bytearray | bytes = _NO_BYTES
        """Bytes of messages that are not complete, or wait their turn."""
        self.right: Right | None = None
        """What its one message came in by, once that is known."""
        self.ended = False
        """The caller has sent all."""
        self.gone = False
        """The call is over: what is still asked of the core is thrown away when it comes."""
        self.held = 0
        """Messages in the hands of the core."""
        self.started = False
        """The first fields of the answer are sent."""
        self.credit = 0
        """What the caller has added to, and our answer taken from, the first window."""
        self.backlog: bytearray | bytes = _NO_BYTES
        """Bytes of the answer that the windows hold back."""
        self.trailers: bytes | None = None
        """The end of the answer, sent after the backlog; empty is the end of one that went well."""
        self.taken = 0
        """Bytes of `data` handed on since the caller was last given room for more."""
        self.order: deque[Slot] | None = deque() if head.many else None
        """Answers of a streaming call that are not sent yet, in the order of their requests."""
        self.slow = 0.0
        """When the request was first seen not to be whole, on the loop's clock; 0.0 is never."""
        self.since = 0.0
        """Since when the caller owes room for the answer, on the loop's clock; 0.0 is never."""
        self.moved = 0
        """Bytes of the answer sent since then."""

    def add(self, part: bytes) -> None:
        """More data has come."""
        if self.data:
            self.data += part
        else:
            self.data = bytearray(part)

    def take(self, size: int) -> bytes:
        """The first so many bytes of the data, which are then gone from it."""
        data = bytes(self.data[:size])
        if size == len(self.data):
            self.data = _NO_BYTES
        elif isinstance(self.data, bytearray):
            del self.data[:size]
        return data

    def clear(self) -> None:
        """Let go of all that is not needed after the call."""
        self.data = self.backlog = _NO_BYTES
        if self.order:
            self.order.clear()


class Calls(Protocol):
    """What is done with the calls of a connection."""

    def head(self, fields: Fields) -> Head:
        """What the fields of a request say."""

    def whole(self, stream: Stream, data: bytes) -> None:
        """All of a call with one message is there: `data`, with the prefix that gRPC puts."""

    def more(self, stream: Stream) -> None:
        """There is more in `stream.data`, or the caller has sent all."""

    def excess(self, stream: Stream) -> None:
        """Too many bytes of requests are unread: this call is the one too many."""

    def late(self, stream: Stream) -> None:
        """The caller's deadline has passed."""

    def slow(self, stream: Stream) -> None:
        """The rest of the request does not come."""

    def refuse(self, stream: Stream, error: Any) -> None:
        """End the call with an error."""
