"""The images of `deploy/compose.yaml`: the bus on NATS, telemetry on a ClickHouse server."""

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient
from testcontainers.core.wait_strategies import HttpWaitStrategy, LogMessageWaitStrategy

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered, Outgoing, batch_message, derived_message
from driftloop.bus.publish import Conflict
from driftloop.bus.requests import Reply, Request
from driftloop.bus.work import Work
from driftloop.contracts import subjects
from driftloop.contracts.state import ModelState
from driftloop.local.nats import NatsServer
from tests.support.flows import rows_held
from tests.support.scored import scored_batch
from tests.support.telemetry import all_kept, ask, count, eventually, telemetry

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
START_SECONDS: Final = 120
PASSWORD: Final = "secret"
MODEL: Final = "flights"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def engine() -> None:
    """Skips where no Docker engine answers."""
    testcontainers_config.ryuk_disabled = True  # the fixtures stop what they start
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the client forgets its socket
        why = _no_engine()
        gc.collect()
    if why:
        pytest.skip(f"no Docker engine answers: {why}")


def _no_engine() -> str:
    try:
        DockerClient().client.ping()
    except Exception as error:  # of which kind, only a package without types could tell
        return str(error)
    return ""


@pytest.fixture(scope="module")
def nats_url(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A NATS server in a container, with the configuration it is deployed with but without users.

    One connection does here what many services do; `test_deployed_nats.py` is about their rights.
    """
    keys = tmp_path_factory.mktemp("keys")
    (keys / "authorization.conf").write_text("# no users\n")
    container = (
        DockerContainer(COMPOSE["nats"]["image"])
        .with_command(COMPOSE["nats"]["command"])
        .with_volume_mapping(DEPLOY / "nats" / "nats.conf", "/etc/nats/nats.conf")
        .with_volume_mapping(keys, "/etc/nats/keys")
        .with_exposed_ports(4222)
        .waiting_for(LogMessageWaitStrategy("Server is ready").with_startup_timeout(START_SECONDS))
    )
    with container as nats:
        yield f"nats://{nats.get_container_host_ip()}:{nats.get_exposed_port(4222)}"


@pytest.fixture(scope="module")
def clickhouse_url(engine: None) -> Iterator[str]:
    """A ClickHouse server in a container."""
    given = COMPOSE["clickhouse"]["environment"] | {"CLICKHOUSE_PASSWORD": PASSWORD}
    container = (
        DockerContainer(COMPOSE["clickhouse"]["image"])
        .with_envs(**given)
        .with_exposed_ports(8123)
        .waiting_for(HttpWaitStrategy(8123, "/ping").with_startup_timeout(START_SECONDS))
    )
    with container as server:
        where = f"{server.get_container_host_ip()}:{server.get_exposed_port(8123)}"
        user, database = given["CLICKHOUSE_USER"], given["CLICKHOUSE_DB"]
        yield f"http://{user}:{PASSWORD}@{where}/{database}"


@pytest.fixture
async def container_bus(nats_url: str) -> AsyncIterator[Bus]:
    """A bus on the NATS container."""
    bus = await Bus.open(nats_url, "test")
    yield bus
    await bus.close()


@pytest.mark.docker
async def test_the_bus_works_on_a_nats_container(container_bus: Bus) -> None:
    await check_bus(container_bus)


@pytest.mark.docker
async def test_telemetry_keeps_everything_on_a_clickhouse_server(
    container_bus: Bus, nats_url: str, clickhouse_url: str, tmp_path: Path
) -> None:
    async with telemetry(nats_url, tmp_path / "unused", clickhouse_url=clickhouse_url):
        await check_telemetry(container_bus)


async def test_the_same_checks_hold_without_containers(
    bus: Bus, nats_server: NatsServer, tmp_path: Path
) -> None:
    await check_bus(bus)
    async with telemetry(nats_server.url, tmp_path / "clickhouse"):
        await check_telemetry(bus)


async def check_bus(bus: Bus) -> None:
    """Publish, work, follow, de-duplicate, ask, write state and keep bytes."""

    async def pass_on(group: Sequence[Delivered]) -> list[Outgoing]:
        return [
            derived_message(
                subjects.rows(m.model, "valid"), m.batch(), kind="rows.valid", source="t", cause=m
            )
            for m in group
        ]

    made = Work(
        stream="ROWS", subjects=("rows.*.received.*",), durable="worker", handler=pass_on, group=4
    )
    sent = [_rows(at) for at in range(10)]
    working = asyncio.create_task(bus.work(made))
    assert [ack.duplicate for ack in await bus.publish(sent)] == [False] * 10
    assert [ack.duplicate for ack in await bus.publish(sent[:3])] == [True] * 3

    async def all_there() -> bool:
        return len(await rows_held(bus, "ROWS", subjects.rows(MODEL, "valid"))) == 100

    await eventually(all_there, "all rows are passed on")
    bus.stopping.set()
    await working
    bus.stopping.clear()

    async def echo(request: Request) -> Reply:
        return Reply(payload=request.payload)

    await bus.serve("query.echo", echo)
    assert (await bus.ask("query.echo", b"said")).payload == b"said"
    first = await bus.models.write(MODEL, ModelState(model=MODEL), 0)
    with pytest.raises(Conflict):
        await bus.models.write(MODEL, ModelState(model=MODEL, champion=1), first - 1)
    artifacts = Artifacts(bus)
    data = bytes(range(256)) * 4_096
    assert await artifacts.get(await artifacts.put(data)) == data


async def check_telemetry(bus: Bus) -> None:
    """Each scored row is kept once, and counted by SQL."""
    sent = [
        batch_message(
            subjects.scored(MODEL),
            scored_batch(100, 100 * at),
            kind="scored",
            source="test",
            msg_id=f"scored:{at}",
        )
        for at in range(6)
    ]
    await bus.publish(sent)
    await all_kept(bus)
    assert await count(bus, "scored") == 600
    found = await ask(bus, "SELECT uniqExact(event_id) AS ids FROM scored FINAL")
    assert found == [{"ids": 600}]


def _rows(at: int) -> Outgoing:
    return batch_message(
        subjects.rows(MODEL, "received"),
        scored_batch(10, 10 * at),
        kind="rows.received",
        source="test",
        msg_id=f"rows:{at}",
    )
