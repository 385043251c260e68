"""A system that cannot start says why, and leaves nothing behind."""

import socket
from pathlib import Path

import pytest

from driftloop.local.nats import free_port
from driftloop.local.system import System
from tests.support.processes import services_of


async def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    system = System(tmp_path, base_port=0, nats_port=free_port())
    port = system.children["inference"].port
    with socket.create_server(("127.0.0.1", port)):
        try:
            with pytest.raises(RuntimeError, match=f"the port of inference: {port} .* is taken"):
                await system.start()
        finally:
            await system.stop()

    assert system.nats.process is None
    assert services_of(system.url) == []


async def test_a_folder_is_free_again_when_its_system_has_stopped(tmp_path: Path) -> None:
    for _ in range(2):
        system = System(tmp_path, base_port=0, nats_port=0, services=("ingest",))
        try:
            await system.start()
        finally:
            await system.stop()
