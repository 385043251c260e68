"""An HTTP/1.1 client that sends what it is given, right or wrong, and reads what comes back."""

import asyncio
import contextlib
from collections import defaultdict
from typing import NamedTuple

from tests.fuzz.case import SECONDS

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]
MOST_HEAD = 1 << 20


class Answer(NamedTuple):
    """An answer; status 0: the server closed the connection without one."""

    status: int
    headers: dict[str, str]
    body: bytes


CLOSED = Answer(0, {}, b"")


class Http:
    """Connections to servers on this machine, kept open while the server does."""

    def __init__(self) -> None:
        self._idle: defaultdict[int, list[Line]] = defaultdict(list)

    async def ask(self, port: int, request: bytes, *, head_only: bool = False) -> Answer:
        """Send a request whose framing is right. Raises `TimeoutError`."""
        async with asyncio.timeout(SECONDS):
            while self._idle[port]:
                line = self._idle[port].pop()
                answer = await self._exchange(port, line, request, head_only)
                if answer is not None:
                    return answer
            answer = await self._exchange(port, await _connect(port), request, head_only)
            return answer or CLOSED

    async def once(self, port: int, data: bytes) -> Answer:
        """Send bytes that may be no request, and nothing after them. Raises `TimeoutError`."""
        async with asyncio.timeout(SECONDS):
            reader, writer = await _connect(port)
            head_only = data.startswith(b"HEAD ")
            try:
                writer.write(data)
                with contextlib.suppress(OSError):
                    await writer.drain()
                    answer = await _before(reader, 0.05, head_only)
                    if answer is not None:
                        return answer
                    writer.write_eof()
                    return await _answer(reader, head_only) or CLOSED
                return CLOSED
            finally:
                writer.close()

    async def close(self) -> None:
        """Close all connections."""
        lines = [line for lines in self._idle.values() for line in lines]
        self._idle.clear()
        for _, writer in lines:
            writer.close()
        for _, writer in lines:
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _exchange(
        self, port: int, line: Line, request: bytes, head_only: bool
    ) -> Answer | None:
        reader, writer = line
        answer: Answer | None = None
        try:
            writer.write(request)
            # The server may answer, and close, before it has read all of it.
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            answer = await _answer(reader, head_only)
            return answer
        finally:
            kept = answer is not None and answer.headers.get("connection", "").lower() != "close"
            if kept and not reader.at_eof() and len(self._idle[port]) < 16:
                self._idle[port].append(line)
            else:
                writer.close()


async def _connect(port: int) -> Line:
    return await asyncio.open_connection("127.0.0.1", port, limit=MOST_HEAD)


async def _before(reader: asyncio.StreamReader, seconds: float, head_only: bool) -> Answer | None:
    """An answer that comes at once."""
    reading = asyncio.ensure_future(reader.read(1))
    done, _ = await asyncio.wait({reading}, timeout=seconds)
    if not done:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        return None
    first = await reading
    return await _answer(reader, head_only, first) or CLOSED if first else CLOSED


async def _answer(
    reader: asyncio.StreamReader, head_only: bool, first: bytes = b""
) -> Answer | None:
    """One answer; None if the connection closes before it."""
    try:
        while True:
            head = first + await reader.readuntil(b"\r\n\r\n")
            first = b""
            lines = head.decode("latin-1").split("\r\n")
            status = int(lines[0].split(" ")[1])
            if status >= 200:
                break
        pairs = (line.partition(":") for line in lines[1:] if line)
        headers = {name.strip().lower(): told.strip() for name, _, told in pairs}
        return Answer(status, headers, await _body(reader, status, headers, head_only))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def _body(
    reader: asyncio.StreamReader, status: int, headers: dict[str, str], head_only: bool
) -> bytes:
    if head_only or status in (204, 304):
        return b""
    if "chunked" in headers.get("transfer-encoding", ""):
        parts: list[bytes] = []
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            parts.append((await reader.readexactly(size + 2))[:-2])
        await reader.readuntil(b"\r\n")
        return b"".join(parts)
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    return await reader.read(1 << 20)


def framed(
    method: str,
    path: str,
    headers: tuple[tuple[str, str], ...],
    body: bytes,
    chunks: tuple[int, ...] = (),
) -> bytes:
    """A request whose framing is right: its length told, or in chunks of these sizes."""
    lines = [f"{method} {path} HTTP/1.1", "host: fuzz"]
    lines += [f"{name}: {told}" for name, told in headers]
    if chunks:
        lines.append("transfer-encoding: chunked")
        parts: list[bytes] = []
        at = 0
        for size in (*chunks, len(body)):
            part = body[at : at + size]
            if part:
                parts.append(b"%x\r\n%b\r\n" % (len(part), part))
            at += size
        body = b"".join([*parts, b"0\r\n\r\n"])
    else:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body
