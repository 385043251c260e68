"""A thousand changes of the champion in one process, under load."""

import asyncio
import random
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.local.nats import NatsServer
from tests.support.faults import Record
from tests.support.flows import Process, process
from tests.support.ledger import Asking
from tests.support.rig import until
from tests.support.serving import decide, register
from tests.support.tiny_models import classifier, manifest, spec, state

SWAPS, WARM = 1_000, 200
MOST_DRIFT = 0.05
ROW = {"a": 0.1, "b": 0.2, "c": 0.3}


@pytest.mark.fault(46, "1,000 changes of champion while it is asked all the time")
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_thousand_swaps_fail_no_request_and_keep_the_memory(
    bus: Bus, nats_server: NatsServer, tmp_path: Path, rng: random.Random, record: Record
) -> None:
    made = [classifier(rng.randrange(1 << 16)) for _ in range(2)]
    await register(bus, spec())
    for one in made:
        await Artifacts(bus).put(one.onnx)
    manifests = [manifest(at, one.onnx) for at, one in enumerate(made, 1)]
    await decide(bus, state(1, *manifests))
    stop = asyncio.Event()
    settings = {"DRIFTLOOP_INFERENCE_GRPC_PORT": "-1", "DRIFTLOOP_INFERENCE_REFRESH_SECONDS": "0.2"}
    with process("inference", nats_server.url, tmp_path, **settings) as service:
        async with httpx.AsyncClient() as http:
            askings = [Asking.over_http(http, service.base, "flights", ROW) for _ in range(4)]
            tasks = [asyncio.create_task(asking.run(stop, 0.002)) for asking in askings]
            resident = 0
            for swap in range(SWAPS):
                champion = swap % 2 + 1
                await decide(bus, state(champion, *manifests))
                await until(partial(answers, http, service, champion), "the swap", 10.0)
                if swap == WARM:
                    resident = rss(service)
            stop.set()
            await asyncio.gather(*tasks)
            drift = rss(service) / resident - 1
    failed = [reason for asking in askings for reason in asking.failed]
    answered = sum(asking.versions.total() for asking in askings)
    assert failed == []
    assert answered > SWAPS
    assert all(set(asking.versions) == {1, 2} for asking in askings)
    assert drift < MOST_DRIFT
    record(injections=SWAPS, rows=answered, lost=0)


def rss(service: Process) -> int:
    return int(psutil.Process(service.pid).memory_info().rss)


async def answers(http: httpx.AsyncClient, service: Process, version: int) -> bool:
    answer = await http.get(f"{service.base}/v1/models/flights")
    return bool(answer.json()["champion"] == version)
