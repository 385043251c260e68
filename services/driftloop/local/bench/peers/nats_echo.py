"""The ceiling of NATS in Python: nats-py answers each request with a constant."""

import asyncio
import sys
from pathlib import Path

import nats
import uvloop
from nats.aio.msg import Msg

URL, SUBJECT = sys.argv[1:3]
ANSWER = Path(sys.argv[3]).read_bytes()


async def main() -> None:
    """Answer until the process is ended."""
    connection = await nats.connect(URL)

    async def on_message(message: Msg) -> None:
        await message.respond(ANSWER)

    await connection.subscribe(SUBJECT, cb=on_message)
    await asyncio.Event().wait()


uvloop.run(main())
