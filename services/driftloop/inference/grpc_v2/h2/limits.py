"""The bounds of the gRPC server, and the counters of what ran into them."""

from dataclasses import dataclass
from typing import Final

from driftloop.runtime import metrics

REFUSED: Final = metrics.counter(
    "grpc_calls_refused", "gRPC calls that the server itself refused or gave up", ["reason"]
)
CUT: Final = metrics.counter(
    "grpc_connections_cut", "gRPC connections that the server ended", ["reason"]
)
OPEN: Final = metrics.gauge("grpc_connections", "gRPC connections open")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer, and all peers together, may take from the server."""

    message_bytes: int
    """One request, as sent and again once inflated; more is RESOURCE_EXHAUSTED."""

    calls: int = 1_024
    """Calls of one connection under way; HTTP/2 tells it the client, who waits with more."""

    all_calls: int = 16_384
    """Calls of all connections under way; one more is told REFUSED_STREAM."""

    connections: int = 1_024
    """Connections open at a time; one more is closed."""

    unread_bytes: int = 1 << 27
    """Bytes of unfinished requests of one connection; more is RESOURCE_EXHAUSTED."""

    all_unread_bytes: int = 1 << 29
    """The same of all connections."""

    unsent_bytes: int = 1 << 25
    """Bytes of answers that one peer's windows hold back; more is RESOURCE_EXHAUSTED."""

    all_unsent_bytes: int = 1 << 28
    """The same of all connections."""

    allowance: int = 8_192
    """Frames of a connection that bring no work done, at most at once (`allowance` module)."""

    allowance_a_second: int = 200
    """How much of it comes back each second; work done brings it back, too."""

    greet_seconds: float = 10.0
    """A peer that has not said its settings by then is cut off."""

    read_seconds: float = 30.0
    """A frame, a header block or a unary request that is not whole by then is given up."""

    write_seconds: float = 30.0
    """A peer that takes nothing of an answer for so long is cut off, or its call is."""

    idle_seconds: float = 60.0
    """A peer that says nothing for so long is asked by a PING."""

    ping_seconds: float = 20.0
    """A peer that does not answer it in this time is cut off."""

    linger_seconds: float = 2.0
    """How long a connection that is closed may take to send its last bytes."""

    sweep_seconds: float = 1.0
    """How often the times above are looked at, and so how exact they are."""

    tick_seconds: float = 0.02
    """The same of the callers' deadlines, while there are any."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)}; accepted: a number above 0")
