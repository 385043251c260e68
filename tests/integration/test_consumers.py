"""Metrics of consumers on a real NATS server: what came of messages, how long, how far behind."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

import pytest
from prometheus_client import REGISTRY

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered, Outgoing
from driftloop.bus.provision import Layout
from driftloop.bus.work import Work, ensure_consumer
from driftloop.contracts.errors import Reject
from driftloop.local.nats import NatsServer
from driftloop.runtime import consumers

DURABLE = "inference-scored"
SUBJECT = "rows.m.valid.live"


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"driftloop_consumer_{name}", labels) or 0.0


async def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_what_waits_is_told_as_lag_and_what_is_handled_by_its_result(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "LOOK_SECONDS", 0.02)
    consumers.listen()
    bus = await Bus.open(nats_server.url, "inference", layout=Layout())

    async def handler(messages: Sequence[Delivered]) -> list[Outgoing]:
        if any(message.payload == b"bad" for message in messages):
            raise Reject("bad")
        return []

    work = Work(stream="ROWS", subjects=(SUBJECT,), durable=DURABLE, handler=handler)
    await ensure_consumer(bus.connection, work)
    bodies = [b"good", b"bad", b"good"]
    await bus.publish(
        [
            Outgoing(subject=SUBJECT, payload=body, headers={"Nats-Msg-Id": str(at)})
            for at, body in enumerate(bodies)
        ]
    )
    before = {r: value("messages_total", consumer=DURABLE, result=r) for r in ("handled", "dead")}
    groups = value("group_seconds_count", consumer=DURABLE)
    watching = asyncio.create_task(consumers.watch(bus))
    await until(lambda: value("lag_messages", stream="ROWS", consumer=DURABLE) == 3)

    working = asyncio.create_task(bus.work(work))
    await until(lambda: value("lag_messages", stream="ROWS", consumer=DURABLE) == 0)
    bus.stopping.set()
    await working
    counted = {r: value("messages_total", consumer=DURABLE, result=r) for r in before}
    assert counted == {"handled": before["handled"] + 2, "dead": before["dead"] + 1}
    assert value("group_seconds_count", consumer=DURABLE) > groups

    follow = bus.follow("ROWS", (SUBJECT,), 1)
    assert len(await follow.read(most=1, timeout=5.0)) == 1
    await until(lambda: value("lag_messages", stream="ROWS", consumer="inference") == 2)
    assert len(await follow.read(most=2, timeout=5.0)) == 2
    await until(lambda: value("lag_messages", stream="ROWS", consumer="inference") == 0)
    await follow.close()
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    await bus.close()
