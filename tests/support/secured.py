"""A broker with users and rights, whose streams the admin has made, and connections to it."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.bus.rights import ADMIN, CLIENT
from driftloop.local.nats import NatsServer


class Secured:
    """The server, its folder of keys, and a way to log in as any user."""

    def __init__(self, server: NatsServer, keys: str) -> None:
        self.server = server
        self.keys = keys

    @contextlib.asynccontextmanager
    async def user(self, name: str) -> AsyncIterator[Bus]:
        """A connection with the rights of one user."""
        layout = None if name == CLIENT else Layout(log_gb=1.0)
        bus = await Bus.open(self.server.url, name, layout=layout, keys=self.keys)
        try:
            yield bus
        finally:
            await bus.close()


async def refusal(url: str, key: str | Path = "", ca: str | Path = "") -> str:
    """Why a caller does not get in; empty if it does.

    In a process of its own: the client leaves the sockets of refused connections to the garbage
    collector, which warns of them later, in the middle of other tests.
    """
    code = (
        "import asyncio, sys\n"
        "from driftloop.client import Client\n"
        "async def main():\n"
        f"    async with Client({url!r}, key={str(key)!r}, ca={str(ca)!r}): pass\n"
        "try: asyncio.run(main())\n"
        "except ConnectionError as error: print(error)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, out
    return out.decode()


@contextlib.asynccontextmanager
async def secured(folder: Path) -> AsyncIterator[Secured]:
    """A broker in `folder`."""
    keys = str(folder / "keys")
    server = NatsServer(folder / "nats", port=0, keys=keys)
    server.start()
    made = Secured(server, keys)
    try:
        async with made.user(ADMIN):
            yield made
    finally:
        server.stop()


@pytest_asyncio.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Secured]:
    """One for a test."""
    async with secured(tmp_path) as made:
        yield made
