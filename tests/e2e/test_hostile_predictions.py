"""Hostile requests for predictions, to a real process, while others get their right answers."""

import asyncio
import gzip
import os
import struct
import subprocess
import sys
import time
import warnings
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc.aio
import httpx
import msgspec
import numpy as np
import psutil
import pyarrow as pa
import pytest
import pytest_asyncio

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.contracts import requests
from driftloop.contracts.batches import encode, matrix_column
from driftloop.contracts.errors import DriftloopError, InvalidInput, Reject
from driftloop.contracts.headers import ARROW, MSGPACK
from driftloop.local.nats import NatsServer
from driftloop.local.ports import free_port
from driftloop.runtime.settings import environment_of_child
from tests.support.serving import (
    CARRIERS,
    CLASSES,
    MIXED,
    Row,
    matrix_of_rows,
    mixed,
    mixed_rows,
    mixed_spec,
    serve_mixed,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the reference client, when it is imported
    from tritonclient.grpc import service_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECONDS: Final = 20.0
BODY_BYTES: Final = 8 << 20
GROWTH_MB: Final = 300
"""What the process may grow by: bodies of 8 MB, a few at a time, and what is read of them."""
OTHER: Final = "unloaded"
V1: Final = f"/v1/models/{MIXED}/predict"
V2: Final = f"/v2/models/{MIXED}/infer"
NAMES: Final = tuple(feature.name for feature in mixed_spec().features)
ROWS: Final[list[Row]] = [
    {**row, "size": row["size"] or "small", "wind": row["wind"] or 0.0} for row in mixed_rows(3, 1)
]
MATRIX: Final = matrix_of_rows(ROWS)
TEXT_BYTES: Final = 30_000


class Victim(NamedTuple):
    """The process, and ways to talk to it."""

    process: subprocess.Popen[bytes]
    http: httpx.AsyncClient
    others: httpx.AsyncClient
    grpc: Any
    bus: Bus
    log: Path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def victim(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Victim]:
    """A process of the service with two models, one of which is unloaded."""
    folder = tmp_path_factory.mktemp("victim")
    server = NatsServer(folder / "nats", port=0)
    server.start()
    bus = await Bus.open(server.url, "test", layout=Layout())
    await serve_mixed(bus)
    await serve_mixed(bus, name=OTHER)
    port, grpc_port = free_port(), free_port()
    variables = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "DRIFTLOOP_NATS_URL": server.url,
        "DRIFTLOOP_PORT": str(port),
        "DRIFTLOOP_INFERENCE_GRPC_PORT": str(grpc_port),
        "DRIFTLOOP_INFERENCE_MODEL_CONTROL": "true",
        "DRIFTLOOP_INFERENCE_BODY_BYTES": str(BODY_BYTES),
    }
    log = folder / "inference.log"
    process = _start(variables, log)
    base = f"http://127.0.0.1:{port}"
    try:
        async with (
            httpx.AsyncClient(base_url=base, timeout=SECONDS) as http,
            httpx.AsyncClient(base_url=base, timeout=SECONDS) as others,
            grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel,
        ):
            made = Victim(process, http, others, channel, bus, log)
            await _ready(made)
            assert (await http.post(f"/v2/repository/models/{OTHER}/unload")).status_code == 200
            await _good(made)
            yield made
    finally:
        await bus.close()
        process.terminate()
        try:
            process.wait(SECONDS)
        finally:
            process.kill()
            server.stop()


def _start(variables: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "driftloop.inference"]
    with log.open("wb") as out:
        return subprocess.Popen(
            command, env=environment_of_child(variables), stdout=out, stderr=out
        )


async def _ready(victim: Victim) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        assert victim.process.poll() is None, victim.log.read_text()
        assert time.monotonic() < deadline, victim.log.read_text()
        try:
            if (await victim.http.get("/readyz")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.05)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def undisturbed(victim: Victim) -> AsyncIterator[None]:
    """Good requests before, during and after on other connections have their right answers."""
    stop = asyncio.Event()

    async def others() -> int:
        count = 0
        while not stop.is_set():
            await _good(victim)
            count += 1
        return count

    await _good(victim)
    before, logged = _resident(victim), victim.log.stat().st_size
    task = asyncio.create_task(others())
    yield
    stop.set()
    assert await task >= 1
    await _good(victim)
    assert victim.process.poll() is None
    assert _resident(victim) - before < GROWTH_MB << 20
    said = victim.log.read_bytes()[logged:].decode()
    assert "Traceback" not in said, said[-4_000:]


def _resident(victim: Victim) -> int:
    return int(psutil.Process(victim.process.pid).memory_info().rss)


async def _good(victim: Victim) -> None:
    """A good request each way, checked."""
    want = right()
    got = await victim.others.post(V1, content=js({"rows": ROWS}))
    assert got.status_code == 200, got.text
    told = [[row[name] for name in CLASSES] for row in got.json()["probabilities"]]
    np.testing.assert_allclose(told, want, atol=1e-4)
    got = await victim.others.post(V2, content=js({"inputs": [tensor()]}))
    assert got.status_code == 200, got.text
    np.testing.assert_allclose(
        np.reshape(got.json()["outputs"][1]["data"], (3, 3)), want, atol=1e-4
    )


@cache
def right() -> Any:
    """What scikit-learn says to the good rows."""
    return mixed().answers(ROWS)


def js(value: Any) -> bytes:
    return msgspec.json.encode(value)


def tensor(**changed: Any) -> dict[str, Any]:
    made = {"name": "X", "shape": [3, 6], "datatype": "FP32", "data": MATRIX.ravel().tolist()}
    return {**made, **changed}


def v2(*tensors: Any, **fields: Any) -> bytes:
    return js({"inputs": list(tensors) or [tensor()], **fields})


def column(name: str, data: Any, datatype: str = "FP32", shape: Any = None) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


def changed(**values: Any) -> bytes:
    return js({"rows": [ROWS[0], {**ROWS[1], **values}]})


def text_in(number: str) -> bytes:
    """A V2 request with a number that JSON libraries would not write."""
    return v2(tensor(data=[7.25, *MATRIX.ravel().tolist()[1:]])).replace(b"7.25", number.encode())


class Case(NamedTuple):
    """A request, the status it gets, and what its text says."""

    name: str
    body: bytes
    says: tuple[str, ...]
    status: int = 400
    path: str = V2
    headers: dict[str, str] = {}  # noqa: RUF012  # never changed


DEEP: Final = b"[" * 1_000_000
V2_CASES: Final = [
    Case("no body", b"", ("request: is not JSON",)),
    Case("cut off", v2()[:-9], ("request: is not JSON",)),
    Case("no UTF-8", v2(id="x").replace(b'"x"', b'"\xff"'), ("request: is not JSON",)),
    Case("surrogate", v2(id="x").replace(b'"x"', b'"\\ud800"'), ("request: is not JSON",)),
    Case("deep", b'{"parameters":{"a":' + DEEP, ("request: is not JSON", "accepted")),
    Case("deep data", v2(tensor(data=0)).replace(b":0}", b":" + DEEP), ("request: is not JSON",)),
    Case("list", b"[]", ("request: Expected `object`", "accepted")),
    Case("no inputs", js({"inputs": []}), ("inputs: there is none", "accepted: X")),
    Case("no tensor", js({"inputs": [1]}), ("`$.inputs[0]`", "accepted")),
    Case("width", v2(tensor(shape=[3, 5])), ("X.shape: [3, 5]", "accepted: [rows, 6]")),
    Case("huge", v2(tensor(shape=[10**12, 6])), ("X.shape", "accepted")),
    Case("negative", v2(tensor(shape=[-1])), ("X.shape: [-1]", "accepted: [rows, 6]")),
    Case("negative rows", v2(tensor(shape=[-1, 6])), ("X.shape: [-1, 6]",)),
    Case("no rows", v2(tensor(shape=[0, 6], data=[])), ("X.shape: [0, 6]", "at least one row")),
    Case("65 sizes", v2(tensor(shape=[1] * 65)), ("X.shape: [1, 1", "accepted")),
    Case("size of 400 digits", v2(tensor(shape=[10**399, 6])), ("X.shape", "accepted")),
    Case("fraction", v2(tensor(shape=[3.5, 6])), ("$.inputs[0].shape[0]", "accepted")),
    Case("datatype", v2(tensor(datatype="BYTES")), ("X.datatype: BYTES", "accepted: ")),
    Case("no datatype", v2(tensor(datatype="FP31")), ("X.datatype: 'FP31'", "accepted: BOOL")),
    Case("texts", v2(tensor(data=["a"] * 18)), ("X.data: 'a' is not FP32", "accepted")),
    Case("few", v2(tensor(data=[1.0] * 17)), ("X.data: holds 17 values", "accepted: 18")),
    Case("unknown", v2(tensor(name="Y")), ("inputs: 'Y' is unknown", "accepted: distance")),
    Case("long name", v2(tensor(name="Y" * 7_000_000)), ("inputs: 'YYY", "accepted: distance")),
    Case("twice", v2(tensor(), tensor()), ("inputs: 'X' is unknown", "accepted")),
    Case(
        "a feature twice", v2(*[column("hour", [1], "INT64")] * 2), ("'hour' stands there twice",)
    ),
    Case("missing", v2(column("hour", [1], "INT64")), ("row 0: distance: is missing", "accepted")),
    Case("rows differ", v2(column("hour", [1]), column("wind", [1, 2])), ("wind.shape: [2]",)),
    Case("null", v2(tensor(data=[None] * 18)), ("row 0: distance: is missing", "accepted")),
    Case("1e999", text_in("1e999"), ("row 0: distance: inf", "accepted: a finite number")),
    Case("-1e999", text_in("-1e999"), ("row 0: distance: -inf", "accepted: a finite number")),
    Case("400 digits", text_in("9" * 400), ("X.data: 999", "accepted: finite numbers")),
    Case("5000 digits", text_in("9" * 5_000), ("distance", "accepted: a finite number")),
    Case("1e39", text_in("1e39"), ("row 0: distance: inf", "accepted: a finite number")),
    Case("NaN", text_in("NaN"), ("request: is not JSON",)),
    Case("Infinity", text_in("Infinity"), ("request: is not JSON",)),
    Case("1e999 and cut off", text_in("1e999")[:-5], ("request: is not JSON",)),
    Case("1e999 and deep", text_in("1e999," + "[" * 100_000), ("request: is not JSON",)),
    Case("7 MB id", v2(id="x" * 7_000_000), ("id: 'xxx", "accepted: at most 256")),
    Case("id", v2(id=7), ("`$.id`", "accepted")),
    Case("output", v2(outputs=[{"name": "Y"}]), ("outputs: 'Y'", "accepted: predictions")),
    Case(
        "an output 200,000 times",
        v2(outputs=[{"name": "probabilities"}] * 200_000),
        ("outputs: 'probabilities' stands there twice", "accepted"),
    ),
    Case(
        "classification -1",
        v2(outputs=[{"name": "probabilities", "parameters": {"classification": -1}}]),
        ("outputs.probabilities.classification: -1", "accepted: from 1"),
    ),
    Case(
        "classification all",
        v2(outputs=[{"name": "probabilities", "parameters": {"classification": "all"}}]),
        ("outputs.probabilities.classification: 'all'", "accepted"),
    ),
    Case("timeout", v2(parameters={"timeout": -5}), ("parameters.timeout: -5", "accepted")),
    Case("long timeout", v2(parameters={"timeout": 10**399}), ("parameters.timeout", "accepted")),
    Case(
        "header timeout",
        v2(),
        ("request-timeout: 'soon'", "accepted: seconds above 0"),
        headers={"request-timeout": "soon"},
    ),
    Case("unknown model", v2(), ("'nobody'", "accepted"), 404, "/v2/models/nobody/infer"),
    Case("bad name", v2(), ("'a.b'", "accepted"), 400, "/v2/models/a.b/infer"),
    Case("unloaded", v2(), (f"{OTHER} is unloaded",), 503, f"/v2/models/{OTHER}/infer"),
    *(
        Case(
            f"version {version}",
            v2(),
            ("version", version[:30], "accepted"),
            404 if version == "7" else 400,
            f"/v2/models/{MIXED}/versions/{version}/infer",
        )
        for version in ("0", "-1", "abc", "99999999999", "1.0", "9" * 5_000)
    ),
    Case("version 7", v2(), ("version", "7", "1"), 404, f"/v2/models/{MIXED}/versions/7/infer"),
]


def binary(
    data: bytes, size: Any = None, length: str = "", **fields: Any
) -> tuple[bytes, dict[str, str]]:
    made = tensor(parameters={"binary_data_size": len(data) if size is None else size}, **fields)
    del made["data"]
    head = js({"inputs": [made], "parameters": {"binary_data_output": True}})
    return head + data, {"inference-header-content-length": length or str(len(head))}


def with_values(*values: float) -> bytes:
    made = MATRIX.copy()
    made[1, : len(values)] = values
    return made.tobytes()


def binary_case(name: str, sent: tuple[bytes, dict[str, str]], *says: str) -> Case:
    return Case(f"binary {name}", sent[0], says, headers=sent[1])


RAW: Final = MATRIX.tobytes()
NAN, INF = float("nan"), float("inf")
BINARY_CASES: Final = [
    binary_case("cut off", (binary(RAW)[0][:-1], binary(RAW)[1]), "X: 72 bytes", "at most the 71"),
    binary_case("too long", (binary(RAW)[0] + b"\0", binary(RAW)[1]), "1 bytes", "accepted"),
    binary_case("short size", binary(RAW, 71), "1 bytes of binary data belong to no input"),
    binary_case("long size", binary(RAW, 73), "X: 73 bytes", "at most the 72"),
    binary_case("huge size", binary(RAW, 2**63), "bytes of binary data are announced"),
    binary_case("negative size", binary(RAW, -72), "X.parameters.binary_data_size: -72"),
    binary_case("text size", binary(RAW, "72"), "X.parameters.binary_data_size: '72'"),
    binary_case("shape", binary(RAW[:-4]), "X: 68 bytes", "accepted: 72"),
    binary_case("datatype", binary(RAW, datatype="FP64"), "X: 72 bytes", "accepted: 144"),
    binary_case("huge shape", binary(RAW, shape=[2**60, 6]), "X.shape", "accepted"),
    binary_case("NaN", binary(with_values(NAN)), "row 1: distance: is missing", "accepted"),
    binary_case("Infinity", binary(with_values(1, INF)), "row 1: hour: inf", "accepted"),
    binary_case("fraction", binary(with_values(1, 1.5)), "row 1: hour: 1.5", "accepted"),
    binary_case("category", binary(with_values(1, 1, 3)), "row 1: carrier: 3", CARRIERS[0]),
    binary_case("header 0", binary(RAW, length="0"), "inference-header-content-length: '0'"),
    binary_case("header -1", binary(RAW, length="-1"), "inference-header-content-length: '-1'"),
    binary_case("header 10^9", binary(RAW, length="1000000000"), "at most the body's"),
    binary_case("header text", binary(RAW, length="abc"), "content-length: 'abc'"),
    binary_case("header short", binary(RAW, length="20"), "request: is not JSON"),
]


def packed(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


def v1(name: str, body: bytes, *says: str, status: int = 422, kind: str = "", **how: Any) -> Case:
    headers = {"content-type": kind} if kind else {}
    return Case(f"v1 {name}", body, says, status, how.get("path", V1), headers)


V1_CASES: Final = [
    v1("no body", b"", "body: not application/json", status=400),
    v1("cut off", changed()[:-3], "body: not application/json", status=400),
    v1("no UTF-8", b'{"\xff": 1}', "body: not application/json", status=400),
    v1("deep", DEEP, "body: not application/json", status=400),
    v1("deep value", b'{"wind":' + DEEP, "body: not application/json", status=400),
    v1("1e999 and cut off", b'{"wind": 1e999', "body: not application/json", status=400),
    v1("1e999 and deep", b'{"wind": 1e999, "a": ' + DEEP, "body: not", status=400),
    v1("number", b"5", "is not rows", "accepted"),
    v1("no rows", b'{"rows": []}', "rows: there is none", "accepted"),
    v1("no row", b'{"rows": [1]}', "row 0: 1 is no row", "accepted"),
    v1("type", changed(distance="far"), "row 1: distance: 'far'", "accepted: a finite number"),
    v1("missing", js({"rows": [{"hour": 1}]}), "row 0: distance: is missing", "accepted"),
    v1("null", changed(distance=None), "row 1: distance: is missing", "accepted"),
    v1("unknown field", changed(colour="red"), "row 1: colour", "accepted: distance"),
    v1("category", changed(size="huge"), "row 1: size: 'huge'", "accepted: one of small, large"),
    v1("boolean", changed(fragile="maybe"), "row 1: fragile: 'maybe'", "accepted"),
    v1("fraction", changed(hour=1.5), "row 1: hour: 1.5", "accepted: a whole number"),
    v1("1e999", changed(wind=7.25).replace(b"7.25", b"1e999"), "row 1: wind: inf", "accepted"),
    v1("400 digits", changed(wind=10**399), "row 1: wind", "accepted: a finite number"),
    v1("1e39", changed(wind=1e39), "row 1: wind", "accepted: a finite number"),
    v1(
        "7 MB id",
        js({**ROWS[0], "event_id": "x" * 7_000_000}),
        "event_id: 'xxx",
        "accepted: at most 256",
    ),
    v1("7 MB value", changed(size="x" * 7_000_000), "row 1: size: 'xxx", "accepted"),
    v1("7 MB name", changed(**{"x" * 7_000_000: 1}), "columns: 'xxx", "accepted"),
    v1(
        "100,000 names",
        js([{f"f{at}": 1} for at in range(100_000)]),
        "columns: 100000 different names",
        "accepted: at most",
    ),
    v1("inputs width", js({"inputs": [[1, 2]]}), "inputs: row 0 has 2 numbers", "accepted: 6"),
    v1("inputs text", js({"inputs": [["a"] * 6]}), "$.inputs[0][0]", "accepted"),
    v1("inputs none", js({"inputs": []}), "inputs: there is no row", "accepted"),
    v1("inputs code", js({"inputs": [[1, 1, 9, 0, 1, 0]]}), "row 0: carrier: 9", CARRIERS[0]),
    v1("content type", b"a,b", "content-type: 'text/csv'", "accepted", status=415, kind="text/csv"),
    v1("option", changed(), "'colour' is no option", "accepted", path=f"{V1}?colour=1"),
    v1("top_k 0", changed(), "top_k: '0'", "accepted", path=f"{V1}?top_k=0"),
    v1("top_k -1", changed(), "top_k: '-1'", "accepted", path=f"{V1}?top_k=-1"),
    v1("version abc", changed(), "version: 'abc'", "accepted", path=f"{V1}?version=abc"),
    v1("version 7", changed(), "version", "7", status=404, path=f"{V1}?version=7"),
    v1("explain", changed(), "explain: 'maybe'", "accepted", path=f"{V1}?explain=maybe"),
    v1("unknown model", changed(), "'nobody'", status=404, path="/v1/models/nobody/predict"),
    v1("bad name", changed(), "'a.b'", "accepted", path="/v1/models/a.b/predict"),
    v1("unloaded", changed(), "is unloaded", status=503, path=f"/v1/models/{OTHER}/predict"),
    v1("msgpack bomb", b"\xdd\x7f\xff\xff\xff", "body: not", status=400, kind=MSGPACK),
    v1("msgpack map bomb", b"\xdf\xff\xff\xff\xff", "body: not", status=400, kind=MSGPACK),
    v1("msgpack rows bomb", b"\x81\xa4rows\xdd\xff\xff\xff\xff", "not", status=400, kind=MSGPACK),
    v1("msgpack text bomb", b"\xdb\xff\xff\xff\xff", "body: not", status=400, kind=MSGPACK),
    v1("msgpack deep", b"\x91" * 1_000_000, "body: not", status=400, kind=MSGPACK),
    v1("msgpack time", b"\xc7\x05\xff\0\0\0\0\0", "body: not", status=400, kind=MSGPACK),
    v1("msgpack extension", b"\xc7\x05\x05\0\0\0\0\0", "accepted", kind=MSGPACK),
    v1("msgpack key", packed({"rows": [{1: 2}]}), "columns: 1", "accepted", kind=MSGPACK),
    v1("msgpack NaN", packed([{**ROWS[0], "distance": NAN}]), "distance", kind=MSGPACK),
    v1("msgpack inf", packed({"inputs": [[INF] * 6]}), "row 0: distance: inf", kind=MSGPACK),
    v1("msgpack JSON", changed(), "body: not", "accepted", status=400, kind=MSGPACK),
]


def arrow(batch: pa.RecordBatch, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(**options)) as out:
        out.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def replaced(name: str, values: Any) -> bytes:
    batch = pa.RecordBatch.from_pylist(ROWS)
    return encode(batch.set_column(NAMES.index(name), name, values))


def arrow_case(name: str, body: bytes, *says: str, status: int = 422) -> Case:
    return v1(f"arrow {name}", body, *says, status=status, kind=ARROW)


BATCH: Final = pa.RecordBatch.from_pylist(ROWS)
COLUMNS: Final = pa.RecordBatch.from_arrays([pa.array(c.copy()) for c in MATRIX.T], list(NAMES))
WIDE: Final = pa.RecordBatch.from_arrays([matrix_column(MATRIX[:, :5])], ["features"])
BAD_MATRIX: Final = np.array([[1, 1, 0, 0, 1, 0], [1, 1, 9, 0, 1, 0]], np.float32)
ARROW_CASES: Final = [
    arrow_case("none", b"", "payload: not an Arrow IPC stream", "accepted", status=400),
    arrow_case("noise", b"\xff" * 100, "payload: not an Arrow", "accepted", status=400),
    arrow_case("cut off", encode(BATCH)[:-60], "payload", "accepted", status=400),
    arrow_case("cut off columns", encode(COLUMNS)[:-60], "payload", "accepted", status=400),
    arrow_case("length", b"\xff\xff\xff\xff\xff\xff\xff\x7f", "payload", status=400),
    *(
        arrow_case(
            f"compressed {coding}",
            arrow(BATCH, compression=coding),
            "its buffers are compressed",
            "accepted: one Arrow IPC stream, uncompressed",
            status=400,
        )
        for coding in ("lz4", "zstd")
    ),
    arrow_case("compressed columns", arrow(COLUMNS, compression="zstd"), "compressed", status=400),
    arrow_case("no rows", encode(BATCH.slice(0, 0)), "rows: there is none", "accepted"),
    arrow_case("no columns rows", encode(COLUMNS.slice(0, 0)), "rows: there is none", "accepted"),
    arrow_case("nulls", replaced("distance", pa.nulls(3)), "row 0: distance: is missing"),
    arrow_case("types", replaced("distance", pa.array([b"\xff"] * 3)), "row 0: distance"),
    arrow_case("nested", replaced("hour", pa.array([[1], [2], [3]])), "row 0: hour", "accepted"),
    arrow_case("time", replaced("hour", pa.array([1, 2, 3], pa.timestamp("ns"))), "row 0: hour"),
    arrow_case("infinite", replaced("wind", pa.array([INF, 0.0, 0.0])), "row 0: wind: inf"),
    arrow_case("column", encode(BATCH.append_column("x", pa.array([1] * 3))), "row 0: x", NAMES[0]),
    arrow_case("missing", encode(BATCH.drop_columns("hour")), "row 0: hour: is missing"),
    arrow_case(
        "twice",
        encode(pa.RecordBatch.from_arrays([BATCH["hour"]] * 2, ["hour", "hour"])),
        "'hour' stands there twice",
        "accepted",
    ),
    arrow_case("matrix width", encode(WIDE), "features: is fixed_size_list", "[6]"),
    arrow_case(
        "matrix code",
        encode(pa.RecordBatch.from_arrays([matrix_column(BAD_MATRIX)], ["features"])),
        "row 1: carrier: 9",
        CARRIERS[0],
    ),
    arrow_case("7 MB name", encode(BATCH.rename_columns([*NAMES[1:], "x" * 7_000_000])), "columns"),
]
CASES: Final = [*V2_CASES, *BINARY_CASES, *V1_CASES, *ARROW_CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_hostile_request_is_refused_by_name(victim: Victim, case: Case) -> None:
    got = await victim.http.post(case.path, content=case.body, headers=case.headers)
    assert got.status_code == case.status, got.text[:2_000]
    kind = "application/problem+json" if case.path.startswith("/v1") else "application/json"
    assert got.headers["content-type"] == kind
    text = got.json()["detail" if case.path.startswith("/v1") else "error"]
    assert [part for part in case.says if part not in text] == [], text[:2_000]
    assert len(text) < TEXT_BYTES


async def test_the_last_of_a_name_that_comes_twice_counts_for_small_and_large_bodies(
    victim: Victim,
) -> None:
    for pad in (b"", b" " * 5_000):
        body = v2(tensor(data=[9.0] * 18))[:-3]
        body += b',"data":' + js(MATRIX.ravel().tolist()) + b"}]" + pad + b"}"
        got = await victim.http.post(V2, content=body)
        assert got.status_code == 200, got.text
        told = np.reshape(got.json()["outputs"][1]["data"], (3, 3))
        np.testing.assert_allclose(told, right(), atol=1e-4)


async def test_more_classes_than_there_are_gives_all_and_zero_gives_none(victim: Victim) -> None:
    for count, shape in ((10**9, [3, 3]), (10**399, [3, 3]), (0, [3, 3])):
        wanted = {"name": "probabilities", "parameters": {"classification": count}}
        got = await victim.http.post(V2, content=v2(outputs=[wanted]))
        assert got.status_code == 200, got.text
        (output,) = got.json()["outputs"]
        assert (output["shape"], output["datatype"]) == (shape, "BYTES" if count else "FP32")


@pytest.mark.parametrize("path", [V1, V2])
async def test_a_body_over_the_limit_is_refused(victim: Victim, path: str) -> None:
    zeros = gzip.compress(b" " * (64 << 20), 9)
    for body, headers in (
        (b" " * (BODY_BYTES + 1), {}),
        (v2(id="x" * 10_000_000), {}),
        (zeros, {"content-encoding": "gzip"}),
    ):
        got = await victim.http.post(path, content=body, headers=headers)
        assert got.status_code == 413
        assert got.headers["content-type"] == "application/problem+json"
        assert "accepted: " in got.json()["detail"]


async def test_many_rows_at_once_are_answered_or_refused_by_the_bound(victim: Victim) -> None:
    small = js({"inputs": [[1, 1, 0, 0, 1, 0]] * 70_000})
    got = await victim.http.post(V1, content=small)
    assert got.status_code == 422
    assert "rows: 70000 in one request; accepted: at most 65536" in got.json()["detail"]


async def test_the_routes_beside_inference_refuse_bad_names_and_versions(victim: Victim) -> None:
    for path, status in (
        ("/v2/models/nobody", 404),
        ("/v2/models/a.b/ready", 400),
        (f"/v2/models/{MIXED}/versions/0", 400),
        (f"/v2/models/{MIXED}/versions/99999999999/config", 400),
        (f"/v2/models/{MIXED}/versions/7/ready", 404),
        (f"/v2/models/{OTHER}", 503),
    ):
        got = await victim.http.get(path)
        assert got.status_code == status, got.text
        assert list(got.json()) == ["error"]
    for body in (b"{", b"[]", b'{"ready": "x"}', b'{"a":' + DEEP, b"\xff"):
        got = await victim.http.post("/v2/repository/index", content=body)
        assert got.status_code == 400
        assert "body: " in got.json()["error"]
        assert 'accepted: none, or {"ready": true}' in got.json()["error"]
    got = await victim.http.post("/v2/repository/models/nobody/load")
    assert got.status_code == 404


# Over gRPC.


class Rpc(NamedTuple):
    """A request over gRPC, the status it gets, and what its text says."""

    name: str
    message: bytes
    says: tuple[str, ...]
    code: str = "INVALID_ARGUMENT"


def proto(*tensors: tuple[str, str, list[int], bytes], **fields: Any) -> bytes:
    made = {"model_name": MIXED, **fields}
    request = service_pb2.ModelInferRequest(**made)
    for name, datatype, shape, data in tensors or [("X", "FP32", [3, 6], RAW)]:
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(data)
    return bytes(request.SerializeToString())


def with_timeout(**kind: Any) -> bytes:
    request = service_pb2.ModelInferRequest.FromString(proto())
    for field, value in kind.items():
        setattr(request.parameters["timeout"], field, value)
    return bytes(request.SerializeToString())


def classification(value: int, times: int = 1) -> bytes:
    request = service_pb2.ModelInferRequest.FromString(proto())
    for _ in range(times):
        output = request.outputs.add(name="probabilities")
        output.parameters["classification"].int64_param = value
    return bytes(request.SerializeToString())


def x(data: bytes = RAW, shape: Any = (3, 6), datatype: str = "FP32") -> bytes:
    return proto(("X", datatype, list(shape), data))


GRPC_CASES: Final = [
    Rpc("noise", b"\xff\xff\xff", ("body: its 3 bytes", "accepted")),
    Rpc("cut off", proto()[:-5], ("body", "accepted")),
    Rpc("width", x(shape=[3, 5]), ("X.shape: [3, 5]", "[rows, 6]")),
    Rpc("huge", x(shape=[10**12, 6]), ("X.shape", "accepted")),
    Rpc("negative", x(shape=[-1, 6]), ("X.shape: [-1, 6]", "accepted")),
    Rpc("no rows", x(b"", shape=[0, 6]), ("X.shape: [0, 6]", "at least one row")),
    Rpc("65 sizes", x(shape=[1] * 65), ("X.shape", "accepted")),
    Rpc("cut off data", x(RAW[:-1]), ("X: 71 bytes", "accepted: 72")),
    Rpc("long data", x(RAW + b"\0"), ("X: 73 bytes", "accepted: 72")),
    Rpc("datatype", x(datatype="INT63"), ("X.datatype: 'INT63'", "accepted")),
    Rpc("NaN", x(with_values(NAN)), ("row 1: distance: is missing", "accepted")),
    Rpc("Infinity", x(with_values(1, -INF)), ("row 1: hour: -inf", "accepted")),
    Rpc("unknown", proto(("Y", "FP32", [3, 6], RAW)), ("inputs: 'Y'", "accepted")),
    Rpc("long name", proto(("Y" * 4_000_000, "FP32", [3, 6], RAW)), ("inputs: 'YYY",)),
    Rpc("twice", proto(*[("X", "FP32", [3, 6], RAW)] * 2), ("inputs: 'X'", "accepted")),
    Rpc("missing", proto(("hour", "INT64", [1], b"\0" * 8)), ("row 0: distance: is missing",)),
    Rpc("text", proto(("carrier", "BYTES", [1], b"\xff\xff\xff\xffA")), ("carrier: 5 bytes",)),
    Rpc(
        "no text",
        proto(("carrier", "BYTES", [1], struct.pack("<I", 1) + b"\xff")),
        ("carrier", "is not UTF-8"),
    ),
    Rpc("unknown model", proto(model_name="nobody"), ("'nobody'", "accepted"), "NOT_FOUND"),
    Rpc("bad name", proto(model_name="a.b"), ("'a.b'", "accepted")),
    Rpc("no name", proto(model_name=""), ("model", "accepted")),
    Rpc("unloaded", proto(model_name=OTHER), ("is unloaded",), "UNAVAILABLE"),
    Rpc("version 7", proto(model_version="7"), ("version", "7"), "NOT_FOUND"),
    *(
        Rpc(f"version {version[:12]}", proto(model_version=version), ("version", "accepted"))
        for version in ("0", "-1", "abc", "99999999999", "9" * 100_000)
    ),
    Rpc("classification -1", classification(-1), ("classification: -1", "accepted")),
    Rpc("outputs", classification(1, 10_000), ("outputs: 'probabilities'", "twice")),
    Rpc("timeout NaN", with_timeout(double_param=NAN), ("parameters.timeout: nan", "accepted")),
    Rpc("timeout inf", with_timeout(double_param=INF), ("parameters.timeout: inf", "accepted")),
    Rpc("timeout text", with_timeout(string_param="1"), ("parameters.timeout: '1'", "accepted")),
    Rpc("4 MB id", proto(id="x" * 4_000_000), ("id", "accepted: at most 256")),
    Rpc("too large", proto(id="x" * 9_000_000), ("",), "RESOURCE_EXHAUSTED"),
]


@pytest.mark.parametrize("case", GRPC_CASES, ids=lambda case: case.name)
async def test_a_hostile_request_over_grpc_is_refused_by_name(victim: Victim, case: Rpc) -> None:
    infer = victim.grpc.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await asyncio.wait_for(infer(case.message), SECONDS)
    code, text = raised.value.code(), raised.value.details()
    assert code.name == case.code, text
    assert [part for part in case.says if part not in str(text)] == [], text


# Over NATS.


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (b"\x00nonsense", "", "body: not application/json"),
        (b'{"wind": 1e999', "", "body: not application/json"),
        (b"\xdd\x7f\xff\xff\xff", MSGPACK, "body: not application/msgpack"),
        (arrow(BATCH, compression="zstd"), ARROW, "its buffers are compressed"),
        (changed(distance="far"), "", "row 1: distance: 'far'"),
        (b"a,b", "text/csv", "content-type: 'text/csv'"),
    ],
    ids=["noise", "1e999", "bomb", "compressed", "value", "type"],
)
async def test_a_hostile_request_over_nats_is_refused(
    victim: Victim, body: bytes, kind: str, says: str
) -> None:
    headers = {"content-type": kind} if kind else None
    with pytest.raises((Reject, InvalidInput, DriftloopError)) as raised:
        await victim.bus.ask(requests.infer(MIXED), body, headers=headers)
    assert says in str(raised.value)
    assert "accepted" in str(raised.value)
