"""Fixtures of all tests: real servers, one a test, ended with it."""

import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.local.nats import NatsServer

# Else a process that is started while a gRPC client of the tests has threads may abort.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

pytest_plugins = ("tests.support.faults",)


@pytest.fixture(autouse=True)
def heard() -> None:
    """What a test says in the log is heard, whoever of this process was made silent before."""
    logging.getLogger("driftloop").setLevel(logging.NOTSET)


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A started nats-server with JetStream, on a free port."""
    server = NatsServer(tmp_path / "nats", port=0)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[Bus]:
    """A bus named `test`, with all streams and buckets."""
    made = await Bus.open(nats_server.url, "test", layout=Layout())
    yield made
    await made.close()
