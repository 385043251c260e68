"""Publishes messages into streams in one write, and hears what the streams say to each.

All acknowledgements of a connection come to one inbox; the last token of their subject says which
message they are for.
"""

import asyncio
import itertools
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from nats.errors import Error as NatsError

from driftloop.bus.messages import Outgoing
from driftloop.bus.wire import Heard, block_of

if TYPE_CHECKING:
    from driftloop.bus.connection import Connection

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.25
"""How often a wait looks whether the line was lost."""
STREAM_FULL: Final = 10077
FULL_SECONDS: Final = 10.0
"""A stream that refused is taken for full so long, unless it takes something before."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a stream did not take a message."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream says: the sequence of the message, whether it had it already, or an error."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: Refusal | None = None


NOBODY: Final = Ack(error=Refusal(code=503, description="no stream answers"))
_decode: Final = msgspec.json.Decoder(Ack).decode


class Window:
    """Messages under way; `acks` has what was said to each, by its place."""

    def __init__(self, size: int) -> None:
        self.acks: dict[int, Ack] = {}
        self._size = size
        self._all = asyncio.Event()

    def said(self, at: int, ack: Ack) -> None:
        """Take in what was said to the message at a place."""
        self.acks[at] = ack
        if len(self.acks) == self._size:
            self._all.set()

    async def wait(self, connection: "Connection", drops: int, seconds: float) -> None:
        """Wait for all, so many seconds at most, and no longer than the line holds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while connection.drops == drops and (left := deadline - loop.time()) > 0:
            try:
                async with asyncio.timeout(min(left, LOOK_SECONDS)):
                    await self._all.wait()
            except TimeoutError:
                continue
            return


class Stored:
    """The publisher of one connection."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._inbox = b""
        self._opening = asyncio.Lock()
        self._tokens = itertools.count()
        self._waiting: dict[bytes, tuple[Window, int]] = {}
        self._full: dict[str, float] = {}
        self.refused = 0
        """Messages that a full stream refused."""

    def problem(self) -> str:
        """Which streams are full, or an empty text."""
        now = asyncio.get_running_loop().time() if self._full else 0.0
        full = [name for name, at in self._full.items() if now - at < FULL_SECONDS]
        return f"full: {', '.join(full)}; refused until there is room" if full else ""

    async def publish(
        self,
        messages: Sequence[Outgoing],
        seconds: float,
    ) -> dict[int, Ack]:
        """Publish, and what was said within so many seconds to each message, by its place."""
        if not self._inbox and not await self._open():
            return {}
        drops, window = self._connection.drops, Window(len(messages))
        tokens = [b"%x" % next(self._tokens) for _ in messages]
        self._waiting.update({token: (window, at) for at, token in enumerate(tokens)})
        try:
            lines: list[bytes] = []
            for message, token in zip(messages, tokens, strict=True):
                lines += self._lines(message, token)
            if await self._connection.write(lines):
                await window.wait(self._connection, drops, seconds)
        finally:
            for token in tokens:
                self._waiting.pop(token, None)
        return window.acks

    def _lines(self, message: Outgoing, token: bytes) -> tuple[bytes, bytes, bytes]:
        head = block_of(message.headers)
        sizes = len(head), len(head) + len(message.payload)
        to = message.subject.encode(), self._inbox, token
        return b"HPUB %b %b%b %d %d\r\n%b" % (*to, *sizes, head), message.payload, b"\r\n"

    async def _open(self) -> bool:
        """Whether answers can be heard: the server may go away before it knows where to send them.

        Then nothing is acknowledged, and who publishes tries again.
        """
        async with self._opening:
            if not self._inbox:
                inbox = self._connection.nc.new_inbox() + "."
                try:
                    await self._connection.hear(f"{inbox}*", self._heard)
                    await self._connection.nc.flush()  # the server has it before the first message
                except NatsError as error:
                    log.warning("publish: the broker does not answer (%s)", error)
                    return False
                self._inbox = inbox.encode()
        return True

    def _heard(self, heard: list[Heard]) -> None:
        start = len(self._inbox)
        for subject, _, headers, payload in heard:
            found = self._waiting.pop(subject[start:], None)
            if found is not None:
                window, at = found
                ack = NOBODY if headers and not payload else _ack(payload)
                self._noted(ack)
                window.said(at, ack)

    def _noted(self, ack: Ack) -> None:
        if ack.error is not None and ack.error.err_code == STREAM_FULL:
            self.refused += 1
            self._full[ack.stream] = asyncio.get_running_loop().time()
        elif self._full and ack.error is None:
            self._full.pop(ack.stream, None)


def _ack(payload: bytes) -> Ack:
    try:
        return _decode(payload)
    except msgspec.DecodeError as error:
        return Ack(error=Refusal(description=f"an answer that is none: {error}"))
