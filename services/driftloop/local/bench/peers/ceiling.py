"""The ceiling of HTTP: reads each request with httptools and answers with a constant."""

import asyncio
import sys
from pathlib import Path
from typing import cast

import httptools
import uvloop

ANSWER = Path(sys.argv[1]).read_bytes()
"""The whole response: status line, headers and body."""


class Connection(asyncio.Protocol):
    """One connection, kept alive."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Make the parser of this connection."""
        self._write = cast(asyncio.Transport, transport).write  # uvloop's is no instance of it
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """A request has been read, its body too."""
        self._write(ANSWER)


async def main() -> None:
    """Listen until the process is ended."""
    server = await asyncio.get_running_loop().create_server(
        Connection, "127.0.0.1", int(sys.argv[2]), backlog=1024
    )
    await server.serve_forever()


uvloop.run(main())
