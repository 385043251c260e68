"""Reads what the server sends: nats-py's parser for all that is rare, this one for messages.

nats-py tries each pattern in turn on a buffer that it shortens message by message, reads headers as
those of a mail, and hands every message to a task through a queue. Here a message is split off
where it stands, and those that came together for a subscription that wants its messages directly
are handed to it together, at once.

Client protocol: https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from nats.aio import client as nats_client
from nats.aio.client import Client
from nats.errors import ProtocolError
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

Heard = tuple[bytes, bytes, bytes, bytes]
"""Subject, reply, header block and payload of a message."""
Direct = Callable[[list[Heard]], None]
"""Messages that came together; called in the event loop, and must not raise."""
MOST_LINE: Final = 1 << 20
"""Bytes of a line of the server; its `INFO` may name many servers."""
MOST_KEPT: Final = 512
"""Bytes of headers that are kept, read, for the next message with the same."""
nats_client.DEFAULT_BUFFER_SIZE = 256 << 10
"""Bytes read at a time: a batch of rows is longer than nats-py's pieces of 32 KiB."""
_MESSAGES: Final = b"MH"


class Wire(Parser):
    """Takes the place of a client's parser; `direct` are the subscriptions heard at once, by id."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.direct: dict[bytes, Direct] = {}

    def reset(self) -> None:
        """Forget what came over a line that is gone."""
        super().reset()
        self._wanted = 0
        """Bytes from which on there is more to read than there was."""

    async def parse(self, data: bytes = b"") -> None:
        """Take in what came; raises `ProtocolError`, after which the line is made anew."""
        kept = self.buf
        if kept:
            kept += data
            if len(kept) < self._wanted:
                return
            data = bytes(kept)
            kept.clear()
        left, wanted = await self._read(data)
        if self.buf is kept:  # it is another after a reset: then the rest is of no use
            kept += memoryview(data)[left:]
            self._wanted = wanted

    async def _read(self, data: bytes) -> tuple[int, int]:
        """Read what is complete; where the rest begins, and how long it must become."""
        together: dict[bytes, list[Heard]] = {}
        try:
            return await self._split(data, together)
        finally:
            for sid, heard in together.items():
                self.direct[sid](heard)

    async def _split(self, data: bytes, together: dict[bytes, list[Heard]]) -> tuple[int, int]:
        """The same; messages that are heard directly are put together."""
        direct = self.direct
        at = 0
        while (end := data.find(b"\r\n", at)) >= 0:
            start = end + 2
            if data[at] not in _MESSAGES:
                await super().parse(data[at:start])
                at = start
                continue
            words = data[at:end].split()
            headed = words[0] == b"HMSG"
            try:
                subject, sid, stop = words[1], words[2], start + int(words[-1])
                body = start + int(words[-2]) if headed else start
            except (ValueError, IndexError):
                raise ProtocolError("nats: malformed MSG") from None
            if stop + 2 > len(data):
                return at, stop + 2 - at
            at = stop + 2
            reply = words[3] if len(words) == 5 + headed else b""
            if sid in direct:
                heard = subject, reply, data[start:body], data[body:stop]
                if sid in together:
                    together[sid].append(heard)
                else:
                    together[sid] = [heard]
            else:
                headers = data[start:body]
                await self.nc._process_msg(int(sid), subject, reply, data[body:stop], headers)
        if len(data) - at > MOST_LINE:
            raise ProtocolError("nats: a line without an end")
        return at, 0


def wired(client: Client) -> Wire:
    """Give a connected client, which has no subscription yet, this parser."""
    before: Parser = client._ps
    made = Wire(client)
    if before.state != AWAITING_CONTROL_LINE:
        raise RuntimeError("nats: the client has subscriptions already")
    made.buf += before.buf
    client._ps = made
    return made


def headers_of(block: bytes) -> Mapping[str, str]:
    """The headers of a block `NATS/1.0`; a name that comes twice has its last value."""
    return _kept(block) if len(block) <= MOST_KEPT else read_headers(block)


def read_headers(block: bytes) -> Mapping[str, str]:
    """The same for headers that will hardly come again."""
    made: dict[str, str] = {}
    for line in block.decode("utf-8", "replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            made[name] = value.strip()
    return made


_kept = lru_cache(maxsize=1024)(read_headers)


def block_of(headers: Mapping[str, str]) -> bytes:
    """Headers as they travel; a line break in a value becomes a space."""
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if not text.count("\r") == text.count("\n") == len(headers):
        lines = [f"{name}: {_BREAKS.sub(' ', value)}\r\n" for name, value in headers.items()]
        text = "".join(lines)
    return f"NATS/1.0\r\n{text}\r\n".encode()


_BREAKS: Final = re.compile(r"[\r\n]+")
