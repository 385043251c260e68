"""The service answers as its OpenAPI document says, whatever a caller sends."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import hypothesis
import msgspec
import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.local.nats import NatsServer
from tests.support.serving import MIXED, Running, mixed, mixed_rows, running, serve_mixed

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCUMENT: Final = Path("docs/reference/openapi-inference.json")
EXAMPLES: Final = 20
"""Requests for each operation and kind of data."""
CHECKS: Final = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPERATIONS: Final = [
    f"{method.upper()} {path}"
    for path, operations in msgspec.json.decode(DOCUMENT.read_bytes())["paths"].items()
    for method in operations
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A service with one model, behind its real server."""
    server = NatsServer(tmp_path_factory.mktemp("nats"), port=0)
    server.start()
    try:
        bus = await Bus.open(server.url, "test", layout=Layout())
        await serve_mixed(bus)
        async with running(server.url) as made:
            yield made
        await bus.close()
    finally:
        server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def document(service: Running) -> dict[str, Any]:
    """The OpenAPI document that the service gives."""
    found: dict[str, Any] = (await service.http.get("/openapi.json")).json()
    return found


async def test_the_page_of_the_reference_is_what_the_service_gives(
    document: dict[str, Any],
) -> None:
    told = msgspec.json.decode(DOCUMENT.read_bytes())
    assert document["paths"] == told["paths"]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("path", ["any", "known"])
async def test_every_answer_is_as_documented(
    service: Running, document: dict[str, Any], operation: str, path: str
) -> None:
    method, where = operation.split(" ", 1)
    if path == "known" and "{" not in where:
        pytest.skip("the path has no parameter")
    await asyncio.to_thread(_try, document, service.port, where, method, path == "known")
    row = mixed_rows(1)
    got = await service.http.post(f"/v1/models/{MIXED}/predict", json=row)
    assert got.status_code == 200, got.text
    want = mixed().answers(row)[0].tolist()
    assert list(got.json()["probabilities"][0].values()) == pytest.approx(want, abs=1e-4)


def _try(document: dict[str, Any], port: int, path: str, method: str, known: bool) -> None:
    """Call an operation with made-up data, good and bad; check each answer."""
    schema = schemathesis.openapi.from_dict(document)
    operation = schema[path][method]

    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy())
    def good(case: Any) -> None:
        _call(case, port, known)

    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(
        case=operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
    )
    def bad(case: Any) -> None:
        _call(case, port, known)

    good()
    if operation.body or operation.query or operation.headers:
        bad()


def _call(case: Any, port: int, known: bool) -> None:
    if known:
        names = {"model": MIXED, "version": "1"}
        case.path_parameters = {name: names[name] for name in case.path_parameters or {}}
    response = case.call(base_url=f"http://127.0.0.1:{port}")
    if response.status_code != 503:  # nobody answers: documented, and no bug
        case.validate_response(response, checks=[not_a_server_error])
    case.validate_response(response, checks=CHECKS)
