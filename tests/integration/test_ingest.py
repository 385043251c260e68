import asyncio
import contextlib
import gzip
import http.client
import json
import select
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pyarrow as pa
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.requests import Reply
from driftloop.client import Client, Sent
from driftloop.contracts import batches, requests, subjects
from driftloop.contracts.errors import InvalidInput, Overloaded, Reject, UnknownModel
from driftloop.contracts.headers import ARROW, MSG_ID, ROWS
from driftloop.contracts.requests import BATCH_ID, Accepted
from driftloop.ingest.app import SERVICE
from driftloop.local.nats import NatsServer
from driftloop.modelspec.rows import from_dicts
from tests.support.flows import (
    eventually,
    held,
    process,
    rain_row,
    rain_spec,
    register,
    rows_held,
    running,
)

RECEIVED = subjects.rows("rain", "received", "*")
LABELS = subjects.labels("rain")
ROWS_PATH = "/v1/models/rain/rows"
LABELS_PATH = "/v1/models/rain/labels"
NDJSON = "application/x-ndjson"
JSON = "application/json"


@pytest.fixture
async def door(bus: Bus, nats_server: NatsServer) -> AsyncIterator[httpx.AsyncClient]:
    await register(bus, rain_spec())
    async with running(SERVICE, nats_server.url) as (_, http):
        yield http


def formats() -> Iterator[Any]:
    rows = [rain_row(n) for n in range(3)]
    csv = "event_id,event_time,wind,day,place,summer\n" + "".join(
        ",".join(str(value) for value in row.values()) + "\n" for row in rows
    )
    yield pytest.param(JSON, json.dumps(rows).encode(), id="json list")
    yield pytest.param(JSON, json.dumps({"rows": rows}).encode(), id="json object of rows")
    yield pytest.param(NDJSON, "\n".join(map(json.dumps, rows)).encode(), id="ndjson")
    yield pytest.param(ARROW, batches.encode(from_dicts(rows)), id="arrow")
    yield pytest.param("text/csv; charset=utf-8", csv.encode(), id="csv")


@pytest.mark.parametrize(("kind", "body"), list(formats()))
async def test_rows_of_every_format_are_in_the_log_when_they_are_accepted(
    door: httpx.AsyncClient, bus: Bus, kind: str, body: bytes
) -> None:
    answer = await door.post(ROWS_PATH, content=body, headers={"content-type": kind})
    assert answer.status_code == 202, answer.text
    assert msgspec.json.decode(answer.content, type=Accepted).accepted == 3
    logged = await rows_held(bus, "ROWS", RECEIVED)
    assert [row["event_id"] for row in logged] == ["e0", "e1", "e2"]
    assert [str(row["place"]) for row in logged] == ["coast", "hill", "coast"]


async def test_one_object_is_one_row_and_gets_an_event_id(
    door: httpx.AsyncClient, bus: Bus
) -> None:
    answer = await door.post(ROWS_PATH, json={"wind": 3})
    assert answer.json()["accepted"] == 1
    (row,) = await rows_held(bus, "ROWS", RECEIVED)
    assert row["wind"] == 3
    assert len(row["event_id"]) > 20


async def test_a_batch_sent_again_under_its_key_is_stored_once(
    door: httpx.AsyncClient, bus: Bus
) -> None:
    rows = [{"wind": 1.0}, {"wind": 2.0}]
    key = {"Idempotency-Key": "file-7"}
    first, second = [await door.post(ROWS_PATH, json=rows, headers=key) for _ in range(2)]
    assert first.json() == {"accepted": 2, "duplicate": 0, "batch": "file-7"}
    assert second.json() == {"accepted": 2, "duplicate": 2, "batch": "file-7"}
    assert len(await held(bus, "ROWS", RECEIVED)) == 1


async def test_the_same_key_may_name_batches_of_two_models_and_of_rows_and_labels(
    door: httpx.AsyncClient, bus: Bus
) -> None:
    await register(bus, rain_spec(name="snow"))
    key = {"Idempotency-Key": "k"}
    for path in (ROWS_PATH, "/v1/models/snow/rows", LABELS_PATH):
        body = {"event_id": "a", "label": 1} if path == LABELS_PATH else {"wind": 1}
        answer = await door.post(path, json=body, headers=key)
        assert answer.json()["duplicate"] == 0


async def test_large_requests_are_split_and_a_retry_is_known_part_by_part(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, rain_spec())
    rows = [rain_row(n) for n in range(10)]
    async with running(SERVICE, nats_server.url, batch_rows=4) as (_, http):
        key = {"Idempotency-Key": "large"}
        for expected in (0, 10):
            answer = await http.post(ROWS_PATH, json=rows, headers=key)
            assert answer.json() == {"accepted": 10, "duplicate": expected, "batch": "large"}
    messages = await held(bus, "ROWS", RECEIVED)
    assert [message.batch().num_rows for message in messages] == [4, 4, 2]
    assert [message.headers[MSG_ID] for message in messages] == [
        f"rows.received:rain:large:{part}" for part in range(3)
    ]


async def test_a_value_of_another_type_costs_no_other_row(
    door: httpx.AsyncClient, bus: Bus
) -> None:
    rows = [rain_row(0), rain_row(1, wind="gale"), rain_row(2, wind={"speed": 3})]
    assert (await door.post(ROWS_PATH, json=rows)).status_code == 202
    logged = await rows_held(bus, "ROWS", RECEIVED)
    assert [row["wind"] for row in logged] == ["0.5", "gale", '{"speed":3}']


async def test_small_requests_that_come_at_once_share_batches(
    door: httpx.AsyncClient, bus: Bus
) -> None:
    count = 200
    answers = await asyncio.gather(
        *(
            door.post(ROWS_PATH, json=rain_row(n, wind=n if n % 2 else n + 0.5))
            for n in range(count)
        )
    )
    assert {answer.status_code for answer in answers} == {202}
    messages = await held(bus, "ROWS", RECEIVED)
    assert sum(message.batch().num_rows for message in messages) == count
    assert len(messages) < count / 2
    ids = [row["event_id"] for row in await rows_held(bus, "ROWS", RECEIVED)]
    assert sorted(ids) == sorted(f"e{n}" for n in range(count))


async def test_labels_are_written_as_the_classes_are(door: httpx.AsyncClient, bus: Bus) -> None:
    given = [1, 0.0, True, "1", "false", "maybe"]
    labels = [{"event_id": n, "label": label} for n, label in enumerate(given)]
    labels[0]["label_time"] = "2024-01-02T03:04:05Z"
    before = time.time()
    answer = await door.post(LABELS_PATH, json={"labels": labels})
    assert answer.status_code == 202, answer.text
    logged = await rows_held(bus, "LABELS", LABELS)
    assert [row["label"] for row in logged] == ["1", "0", "1", "1", "0", "maybe"]
    assert [row["event_id"] for row in logged] == ["0", "1", "2", "3", "4", "5"]
    assert logged[0]["label_time"].isoformat() == "2024-01-02T03:04:05+00:00"
    assert logged[1]["label_time"].timestamp() >= int(before)


def packed(coding: str, body: bytes) -> bytes:
    return gzip.compress(body) if coding == "gzip" else pa.Codec("zstd").compress(body, True)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize(("kind", "body"), list(formats()))
async def test_a_packed_body_is_the_same_as_a_plain_one(
    door: httpx.AsyncClient, bus: Bus, kind: str, body: bytes, coding: str
) -> None:
    head = {"content-type": kind, "content-encoding": coding}
    answer = await door.post(ROWS_PATH, content=packed(coding, body), headers=head)
    assert answer.status_code == 202, answer.text
    assert answer.json()["accepted"] == 3
    logged = await rows_held(bus, "ROWS", RECEIVED)
    assert [row["event_id"] for row in logged] == ["e0", "e1", "e2"]


async def test_a_packed_body_that_is_no_good_is_refused(bus: Bus, nats_server: NatsServer) -> None:
    await register(bus, rain_spec())
    row = json.dumps(rain_row(1)).encode()
    async with running(SERVICE, nats_server.url, max_body=1 << 20) as (_, http):
        for coding, body, status, told in (
            ("gzip", packed("gzip", bytes(64 << 20)), 413, "more than 1048576 bytes once unpacked"),
            ("zstd", packed("zstd", bytes(64 << 20)), 413, "more than 1048576 bytes once unpacked"),
            ("zstd", packed("zstd", row)[:-2], 400, "not zstd"),
            ("gzip", row, 400, "not gzip"),
            ("gzip", packed("gzip", b""), 422, "empty"),
            ("zstd", packed("zstd", b"{"), 400, "not JSON"),
            ("br", row, 415, "'br' is not read here; accepted: gzip, zstd, identity"),
            ("gzip, gzip", row, 415, "accepted: gzip, zstd, identity, once"),
        ):
            head = {"content-type": JSON, "content-encoding": coding}
            answer = await http.post(ROWS_PATH, content=body, headers=head)
            assert answer.status_code == status, answer.text
            assert told in answer.json()["detail"]
            assert "accepted" in answer.json()["detail"]
        assert await bus.log.last_seq("ROWS") == 0


async def test_what_a_body_unpacks_to_counts_as_held(bus: Bus, nats_server: NatsServer) -> None:
    await register(bus, rain_spec())
    body = b"\n".join(b'{"wind":%d}' % number for number in range(20_000))
    head = {"content-type": NDJSON, "content-encoding": "zstd", "idempotency-key": "one"}
    content = packed("zstd", body)
    async with running(SERVICE, nats_server.url, held_bytes=len(body) + len(content)) as (_, http):
        answers = await asyncio.gather(
            *(http.post(ROWS_PATH, content=content, headers=head) for _ in range(2))
        )
        assert sorted(answer.status_code for answer in answers) == [202, 503]
        assert any("bytes of requests are under way" in answer.text for answer in answers)
        alone = await http.post(ROWS_PATH, content=content, headers=head)
        assert alone.json() == {"accepted": 20_000, "duplicate": 20_000, "batch": "one"}


async def test_a_stream_of_several_arrow_batches_is_one_request(
    door: httpx.AsyncClient, bus: Bus
) -> None:
    table = pa.Table.from_batches([from_dicts([rain_row(n) for n in range(1000)])])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=64)
    body = sink.getvalue().to_pybytes()
    answer = await door.post(ROWS_PATH, content=body, headers={"content-type": ARROW})
    assert answer.json()["accepted"] == 1000
    logged = await rows_held(bus, "ROWS", RECEIVED)
    assert [row["event_id"] for row in logged] == [f"e{n}" for n in range(1000)]


async def test_a_long_ndjson_body_keeps_the_order_and_tells_the_line_that_is_wrong(
    door: httpx.AsyncClient, bus: Bus
) -> None:
    lines = [json.dumps(rain_row(n)) for n in range(20_000)]
    lines[7] = json.dumps(rain_row(7, wind="gale"))
    kind = {"content-type": NDJSON}
    wrong = "\n".join([*lines[:15_000], "{", *lines[15_000:]])
    answer = await door.post(ROWS_PATH, content=wrong, headers=kind)
    assert answer.status_code == 400
    assert "rows line 15001: not JSON" in answer.json()["detail"]
    assert (await door.post(ROWS_PATH, content="\n".join(lines), headers=kind)).status_code == 202
    logged = await rows_held(bus, "ROWS", RECEIVED)
    assert [row["event_id"] for row in logged] == [f"e{n}" for n in range(20_000)]
    assert [logged[at]["wind"] for at in (7, 19_999)] == ["gale", 99.5]


BAD = [
    (JSON, b'[{"wind": 1}, {"wind": NaN}]', 400, ["byte 23"]),
    (JSON, b'[{"wind": 1}, {"wind": 2', 400, ["byte 24"]),
    (JSON, b"\xff\xfe", 400, ["byte 0"]),
    (JSON, b'[{"wind": ' + b"[" * 90_000 + b"]" * 90_000 + b"}]", 400, ["nested too deep"]),
    (JSON, b'[{"wind": 1}, 5]', 422, ["rows[1]", "5 is no object"]),
    (JSON, b'{"rows": 7}', 422, ["rows: 7 is no list"]),
    (JSON, b"3", 422, ["rows: 3 is no list"]),
    (JSON, b"[]", 422, ["there is none"]),
    (JSON, b"[{}]", 422, ["no row has a field"]),
    (JSON, b"", 422, ["empty"]),
    (JSON, b'[{"' + b"n" * 300 + b'": 1}]', 422, ["256 characters"]),
    (NDJSON, b'{"wind": 1}\n\n{"wind": x}\n', 400, ["line 3", "byte 9"]),
    (NDJSON, b'{"wind": 1}\n[1]\n', 422, ["line 2", "[1] is no object"]),
    (ARROW, b"not arrow", 400, ["Arrow IPC"]),
    ("text/csv", b"a,a\n1,2\n", 422, ["'a' stands there twice"]),
    ("text/csv", b"a,b\n1\n", 400, ["CSV"]),
    ("text/csv", b"a,b\n", 422, ["there is none"]),
    ("application/xml", b"<a/>", 415, ["application/xml", JSON, NDJSON, ARROW, "text/csv"]),
]


@pytest.mark.parametrize(("kind", "body", "status", "told"), BAD)
async def test_a_bad_body_is_refused_with_what_is_wrong_and_where(
    door: httpx.AsyncClient, bus: Bus, kind: str, body: bytes, status: int, told: list[str]
) -> None:
    answer = await door.post(ROWS_PATH, content=body, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert all(part in problem["detail"] for part in told), problem["detail"]
    assert "accepted" in problem["detail"]
    assert await bus.log.last_seq("ROWS") == 0


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ({"label": 1}, ["labels[0]", "event_id is missing"]),
        ([{"event_id": "a", "label": 1}, {"event_id": "b"}], ["labels[1]", "label", "is missing"]),
        ([{"event_id": "a", "label": 1}, {"event_id": "", "label": 1}], ["labels[1]", "event_id"]),
        (
            {"event_id": "a", "label": 1, "label_time": "soon"},
            ["labels[0]", "label_time", "'soon'"],
        ),
        ({"event_id": "a", "label": 1, "lable_time": 7}, ["'lable_time'", "label_time"]),
    ],
)
async def test_a_bad_label_is_refused_with_its_index_and_field(
    door: httpx.AsyncClient, bus: Bus, label: Any, told: list[str]
) -> None:
    answer = await door.post(LABELS_PATH, json=label)
    assert answer.status_code == 422
    assert all(part in answer.json()["detail"] for part in told), answer.text
    assert await bus.log.last_seq("LABELS") == 0


@pytest.mark.parametrize("name", ["a.b", "a*", "%3E", "a%20b", "x%0A", "A", "n" * 64, "%C3%BC"])
async def test_a_bad_model_name_is_refused(door: httpx.AsyncClient, name: str) -> None:
    answer = await door.post(f"/v1/models/{name}/rows", json={"wind": 1})
    assert answer.status_code == 422
    assert "is not a model name; accepted: 1 to 63 characters" in answer.json()["detail"]


async def test_an_unknown_model_is_answered_with_the_known_ones(door: httpx.AsyncClient) -> None:
    answer = await door.post("/v1/models/snow/rows", json={"wind": 1})
    assert answer.status_code == 404
    assert answer.json()["detail"] == "model: 'snow' is not registered; accepted: rain"


async def test_a_bad_key_is_refused(door: httpx.AsyncClient) -> None:
    answer = await door.post(ROWS_PATH, json={"wind": 1}, headers={"Idempotency-Key": "a b"})
    assert answer.status_code == 422
    assert "'a b'" in answer.json()["detail"]


async def test_a_number_beyond_every_float_is_left_to_validation(
    door: httpx.AsyncClient, bus: Bus
) -> None:
    kind = {"content-type": JSON}
    answer = await door.post(ROWS_PATH, content=b'[{"wind": 1e999}]', headers=kind)
    assert answer.status_code == 202
    (row,) = await rows_held(bus, "ROWS", RECEIVED)
    assert row["wind"] == float("inf")


async def test_more_rows_than_allowed_are_refused(bus: Bus, nats_server: NatsServer) -> None:
    await register(bus, rain_spec())
    async with running(SERVICE, nats_server.url, max_rows=5) as (_, http):
        for kind, body in (
            (JSON, json.dumps([{"wind": 1}] * 7).encode()),
            (ARROW, batches.encode(from_dicts([{"wind": 1}] * 7))),
        ):
            answer = await http.post(ROWS_PATH, content=body, headers={"content-type": kind})
            assert answer.status_code == 413
            assert "at most 5" in answer.json()["detail"]


async def test_a_lag_of_validation_slows_producers_down(bus: Bus, nats_server: NatsServer) -> None:
    await register(bus, rain_spec())
    async with running(SERVICE, nats_server.url, max_lag=2, lag_seconds=0.05) as (own, http):
        consumer = {"durable_name": "validation-rows", "ack_policy": "explicit"}
        await bus.ask(
            "$JS.API.CONSUMER.DURABLE.CREATE.ROWS.validation-rows",
            json.dumps({"stream_name": "ROWS", "config": consumer}).encode(),
        )
        for number in range(3):
            key = {"Idempotency-Key": f"{number}"}
            assert (await http.post(ROWS_PATH, json={"wind": 1}, headers=key)).status_code == 202

        async def refused() -> bool:
            answer = await http.post(ROWS_PATH, json={"wind": 1})
            assert answer.status_code in (202, 503)
            if answer.status_code == 503:
                assert answer.headers["retry-after"] == "1"
                assert "batches behind; accepted: at most 2" in answer.json()["detail"]
            return answer.status_code == 503

        await eventually(refused, "rows are refused")
        with pytest.raises(Overloaded, match="batches behind"):
            await own.ask(requests.send("rain", "rows"), batches.encode(from_dicts([{"wind": 1}])))
        label = await http.post(LABELS_PATH, json={"event_id": "a", "label": 1})
        assert label.status_code == 202


async def ask(bus: Bus, payload: bytes, *, model: str = "rain", **sent: str) -> Reply:
    return await bus.ask(requests.send(model, "rows"), payload, headers=sent or None)


async def test_rows_over_nats_are_answered_with_what_the_log_has(
    door: httpx.AsyncClient, bus: Bus
) -> None:
    payload = batches.encode(from_dicts([rain_row(n) for n in range(5)]))
    for duplicate in (0, 5):
        reply = await ask(bus, payload, **{BATCH_ID: "b-1"})
        accepted = msgspec.msgpack.decode(reply.payload, type=Accepted)
        assert accepted == Accepted(accepted=5, duplicate=duplicate, batch="b-1")
    with pytest.raises(Reject, match="Arrow IPC"):
        await ask(bus, b"nonsense")
    with pytest.raises(UnknownModel, match="'snow' is not registered"):
        await ask(bus, payload, model="snow")
    with pytest.raises(InvalidInput, match="'a b' is no key"):
        await ask(bus, payload, **{BATCH_ID: "a b"})


@pytest.mark.fault(1, "ingest is killed while batches are on their way")
async def test_a_batch_is_in_the_log_exactly_once_when_ingest_is_killed_under_way(
    bus: Bus, nats_server: NatsServer, tmp_path: Path
) -> None:
    await register(bus, rain_spec())
    count, each = 200, 64
    table = pa.Table.from_batches([from_dicts([rain_row(n) for n in range(count * each)])])
    under_way = asyncio.Event()

    def progress(sent: Sent) -> None:
        if sent.batches >= 40:
            under_way.set()

    with process("ingest", nats_server.url, tmp_path) as ingest:
        async with Client(nats_server.url, timeout=1.0, window=4) as client:
            sending = asyncio.create_task(
                client.send_rows("rain", table, batch_rows=each, on_progress=progress)
            )
            await under_way.wait()
            ingest.kill()
            assert not sending.done()
            ingest.start()
            sent = await asyncio.wait_for(sending, 30)
        ingest.wait()
    assert (sent.rows, sent.batches) == (count * each, count)
    messages = await held(bus, "ROWS", RECEIVED)
    assert sum(int(message.headers[ROWS]) for message in messages) == count * each
    assert len({row["event_id"] for row in await rows_held(bus, "ROWS", RECEIVED)}) == count * each


@pytest.mark.fault(28, "bodies of 20 and 100 MB")
async def test_a_body_of_20_mb_is_refused_without_reading_it_all(
    bus: Bus, nats_server: NatsServer, tmp_path: Path
) -> None:
    await register(bus, rain_spec())
    with process("ingest", nats_server.url, tmp_path) as ingest:
        path = f"{ingest.base}{ROWS_PATH}"
        for size, told in ((20 << 20, True), (100 << 20, False)):
            status, detail, sent = await asyncio.to_thread(post_blanks, ingest.port, size, told)
            assert status == 413
            assert "accepted: at most 16777216 bytes" in detail
            assert sent < size
        answer = await asyncio.to_thread(httpx.post, path, json={"wind": 1})
        assert answer.status_code == 202


def post_blanks(port: int, size: int, told: bool) -> tuple[int, str, int]:
    """Post `size` blanks, their number told before or not, until an answer comes: status, detail,
    and how many were sent by then.
    """
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(line):
        return _post_blanks(line, size, told)


def _post_blanks(line: http.client.HTTPConnection, size: int, told: bool) -> tuple[int, str, int]:
    line.putrequest("POST", ROWS_PATH)
    line.putheader("content-type", JSON)
    line.putheader(*(("content-length", str(size)) if told else ("transfer-encoding", "chunked")))
    line.endheaders()
    part, sent = b" " * 65_536, 0
    while sent < size and not select.select([line.sock], [], [], 0)[0]:
        line.send(part if told else b"10000\r\n" + part + b"\r\n")
        sent += len(part)
    answer = line.getresponse()
    return answer.status, json.loads(answer.read())["detail"], sent
