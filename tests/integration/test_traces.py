"""What a real system tells of itself: traces over OTLP, one from the HTTP row to the ClickHouse
insert; and metrics, those of the reference page.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from driftloop.cli.reference import metrics
from driftloop.local.system import System
from driftloop.local.up import register
from driftloop.runtime.settings import SERVICES
from tests.support.loop import spec
from tests.support.otlp import Received, Receiver, receiver

pytestmark = pytest.mark.asyncio(loop_scope="module")
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
UNSAMPLED = "5bf92f3577b34da6a3ce929d0e0e4736"
ROW: dict[str, object] = {"a": 1.0, "b": 2.0, "event_time": "2013-01-01T06:00:00Z"}
SECONDS = 60.0

PARENTS = {
    "POST /v1/models/{model}/rows": ("ingest", CALLER),
    "publish rows": ("ingest", "POST /v1/models/{model}/rows"),
    "process validation-rows": ("validation", "publish rows"),
    "process telemetry-rows": ("telemetry", "process validation-rows"),
    "process inference-scored": ("inference", "process validation-rows"),
    "process telemetry-scored": ("telemetry", "process inference-scored"),
    "INSERT scored": ("telemetry", "process telemetry-scored"),
    "join": ("feedback", "process inference-scored"),
    "process telemetry-outcomes": ("telemetry", "join"),
    "INSERT outcomes": ("telemetry", "process telemetry-outcomes"),
}
"""The spans of one row and its label: the service of each, and which one it came of."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def system(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[System, Receiver]]:
    with receiver() as its:
        made = System(
            tmp_path_factory.mktemp("system"),
            base_port=0,
            nats_port=0,
            environment={
                "DRIFTLOOP_INFERENCE_GRPC_PORT": "0",
                "DRIFTLOOP_TRACES_URL": its.url,
                "DRIFTLOOP_TRACES_RATIO": "1",
                "DRIFTLOOP_TELEMETRY_FLUSH_SECONDS": "0.2",
            },
        )
        try:
            await made.start()
            async with made.bus() as bus:
                await register(bus, [spec()], by="test")
            yield made, its
        finally:
            await made.stop()


async def test_one_trace_leads_from_the_row_over_http_to_the_insert_of_its_outcome(
    system: tuple[System, Receiver],
) -> None:
    made, its = system
    async with httpx.AsyncClient(base_url=made.http("ingest")) as http:
        await _post(http, "rows", ROW | {"event_id": "e1"}, f"00-{TRACE}-{CALLER}-01")
        await _post(http, "rows", ROW | {"event_id": "e2"}, f"00-{UNSAMPLED}-{CALLER}-00")
        await _received(its, lambda: _named(its.of(TRACE), "INSERT scored"))
        await _post(http, "labels", {"event_id": "e1", "label": "yes"})
        # Each service sends its spans when it likes: the last to happen may be the first to come.
        await _received(its, lambda: {span.name for span in its.of(TRACE)} >= PARENTS.keys())
        await _received(its, lambda: _named(its.spans, "publish labels"))

    spans = {span.name: span for span in its.of(TRACE)}
    for name, (service, parent) in PARENTS.items():
        span = spans[name]
        assert span.service == service
        assert span.parent == (spans[parent].id if parent in spans else parent), name
        assert span.start <= span.end
        assert parent not in spans or spans[parent].start <= span.start
    inside = spans["process telemetry-outcomes"], spans["INSERT outcomes"]
    assert inside[1].end <= inside[0].end  # acknowledged after ClickHouse had it

    (label,) = [s for s in its.spans if s.name == "publish labels"]
    assert label.trace != TRACE
    assert spans["join"].links == ((label.trace, label.id),)
    assert not its.of(UNSAMPLED)
    assert spans["process inference-scored"].attributes["driftloop.rows"] == 1


async def test_services_tell_the_metrics_of_the_reference_page_and_no_others(
    system: tuple[System, Receiver],
) -> None:
    known = metrics.metrics()
    async with httpx.AsyncClient() as http:
        for service in SERVICES:
            answer = await http.get(f"{system[0].http(service)}/metrics")
            told = {
                f"{its.name}_total" if its.type == "counter" else its.name: its
                for its in text_string_to_metric_families(answer.text)
                if its.name.startswith(metrics.PREFIX) and not its.name.endswith("_created")
            }
            expected = {m.name: m for m in known if m.service in (metrics.EVERY, service)}
            assert told.keys() == expected.keys(), service
            for name, its in told.items():
                labels = {label for sample in its.samples for label in sample.labels} - {"le"}
                assert its.type == expected[name].kind, name
                assert not its.samples or labels == set(expected[name].labels), name
                assert its.documentation == expected[name].text, name


async def _post(
    http: httpx.AsyncClient, what: str, row: dict[str, object], trace: str = ""
) -> None:
    headers = {"traceparent": trace} if trace else {}
    answer = await http.post(f"/v1/models/tide/{what}", json=[row], headers=headers)
    assert answer.status_code == 202, answer.text


def _named(spans: list[Received], name: str) -> bool:
    return any(span.name == name for span in spans)


async def _received(its: Receiver, true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, [(s.service, s.name) for s in its.spans]
        await asyncio.sleep(0.05)
