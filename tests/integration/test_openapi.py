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
from tests.support.serving import (
    MIXED,
    Running,
    matrix_of_rows,
    mixed,
    mixed_rows,
    running,
    serve_mixed,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCUMENT: Final = Path("docs/reference/openapi-inference.json")
KNOWN: Final = {"model": MIXED, "version": "1"}
EXAMPLES: Final = 15
"""Requests for each operation and kind of data."""
CHECKS: Final = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SETTINGS: Final = hypothesis.settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
OPERATIONS: Final = [
    (method, path, known)
    for path, operations in msgspec.json.decode(DOCUMENT.read_bytes())["paths"].items()
    for method in operations
    for known in ((False, True) if "{" in path else (False,))
]
"""Method, path, and whether the path is to name the model that is there."""


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


@pytest.mark.parametrize(("method", "path", "known"), OPERATIONS)
async def test_every_answer_is_as_documented(
    service: Running, document: dict[str, Any], method: str, path: str, known: bool
) -> None:
    await asyncio.to_thread(_try, document, service.port, path, method, known)
    row = mixed_rows(1)
    got = await service.http.post(f"/v1/models/{MIXED}/predict", json=row)
    assert got.status_code == 200, got.text
    want = mixed().answers(row)[0].tolist()
    assert list(got.json()["probabilities"][0].values()) == pytest.approx(want, abs=1e-4)


ROWS: Final = [{**row, "size": "small", "wind": 0.5} for row in mixed_rows(3)]
TENSOR: Final = {
    "name": "X",
    "shape": [3, 6],
    "datatype": "FP32",
    "data": matrix_of_rows(ROWS).ravel().tolist(),
}
GOOD: Final[list[tuple[str, dict[str, str], Any]]] = [
    ("/v1/models/{model}/predict", {}, {"rows": ROWS}),
    ("/v1/models/{model}/predict", {}, ROWS),
    ("/v1/models/{model}/predict", {}, {"inputs": matrix_of_rows(ROWS).tolist(), "id": "a"}),
    ("/v1/models/{model}/predict", {"explain": "true", "top_k": "2"}, {"rows": ROWS}),
    ("/v2/models/{model}/infer", {}, {"inputs": [TENSOR]}),
    ("/v2/models/{model}/infer", {}, {"inputs": [TENSOR], "outputs": [{"name": "contributions"}]}),
    (
        "/v2/models/{model}/infer",
        {},
        {"inputs": [TENSOR], "parameters": {"binary_data_output": True}},
    ),
    ("/v2/models/{model}/versions/{version}/infer", {}, {"inputs": [TENSOR], "id": "a"}),
    ("/v2/repository/index", {}, {"ready": True}),
]


@pytest.mark.parametrize("at", range(len(GOOD)))
async def test_good_answers_are_as_documented(
    service: Running, document: dict[str, Any], at: int
) -> None:
    path, query, body = GOOD[at]

    def work() -> None:
        operation = schemathesis.openapi.from_dict(document)[path]["post"]
        names = {name: value for name, value in KNOWN.items() if f"{{{name}}}" in path}
        case = operation.Case(
            path_parameters=names, query=query, body=body, media_type="application/json"
        )
        response = case.call(base_url=f"http://127.0.0.1:{service.port}")
        assert response.status_code == 200, response.text
        case.validate_response(response, checks=CHECKS)

    await asyncio.to_thread(work)


def _try(document: dict[str, Any], port: int, path: str, method: str, known: bool) -> None:
    """Call an operation with made-up data, good and bad; check each answer."""
    schema = schemathesis.openapi.from_dict(document)
    operation = schema[path][method]

    @SETTINGS
    @hypothesis.given(case=operation.as_strategy())
    def good(case: Any) -> None:
        _call(case, port, known)

    @SETTINGS
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
        case.path_parameters = {name: KNOWN[name] for name in case.path_parameters or {}}
    response = case.call(base_url=f"http://127.0.0.1:{port}")
    if response.status_code != 503:  # nobody answers: documented, and no bug
        case.validate_response(response, checks=[not_a_server_error])
    case.validate_response(response, checks=CHECKS)
