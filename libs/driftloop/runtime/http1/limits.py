"""The bounds of the HTTP server, in bytes and seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client, and all clients together, may take from the server."""

    head_bytes: int = 16 * 1024
    """Request line and header fields of a request; more is a 414 or 431."""

    headers: int = 100
    """Header fields of a request; more is a 431."""

    body_bytes: int = 64 * 1024 * 1024
    """Body of a request, as sent and again once inflated; more is a 413."""

    ahead_bytes: int = 64 * 1024
    """Bytes kept of requests sent ahead of an answer; beyond it nothing more is read (the last
    read may bring up to 256 KiB at once).
    """

    held_bytes: int = 512 * 1024 * 1024
    """Bytes of unfinished bodies of all connections together; more is a 503."""

    connections: int = 1024
    """Connections open at a time; one more is told 503 and closed."""

    read_seconds: float = 30.0
    """From the first byte of a request to its last; longer is a 408."""

    idle_seconds: float = 75.0
    """A connection without a request is closed after this time."""

    write_seconds: float = 60.0
    """A client that leaves its answer unread for so long is cut off."""

    linger_seconds: float = 2.0
    """After a refusal: how long what the client still sends is read and thrown away."""

    sweep_seconds: float = 1.0
    """How often the times above are looked at, and so how exact they are; at most 1, since the
    `date` header is renewed at the same time.
    """

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)}; accepted: a number above 0")
        if self.sweep_seconds > 1.0:
            raise ValueError(f"sweep_seconds: {self.sweep_seconds}; accepted: at most 1")
