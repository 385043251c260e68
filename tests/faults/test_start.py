"""A system that cannot start says why, and leaves nothing behind."""

import asyncio
import socket
from pathlib import Path

import pytest

from driftloop.local.ports import free_port
from driftloop.local.readiness import unready
from driftloop.local.system import System
from tests.support.flows import eventually
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


async def test_replicas_listen_on_ports_of_their_own_and_each_is_started_again(
    tmp_path: Path,
) -> None:
    system = System(
        tmp_path, base_port=0, nats_port=0, services=("ingest",), replicas={"ingest": 2}
    )
    try:
        await system.start()
        second = system.children["ingest-2"]
        assert second.process is not None
        assert second.port != system.children["ingest"].port
        assert system.further == ["ingest-2"]
        assert sorted(log.name for log in (tmp_path / "logs").iterdir()) == [
            "ingest-2.log",
            "ingest.log",
        ]
        killed = second.process
        killed.kill()

        async def again() -> bool:
            reason = await asyncio.to_thread(unready, system.http("ingest-2"))
            return second.process is not killed and reason is None

        await eventually(again, "the second replica is ready again")
    finally:
        await system.stop()
    assert services_of(system.url) == []
