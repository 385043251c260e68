"""Commands of `driftloop` on a real bus, other services played by the test."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.messages import batch_message
from driftloop.bus.requests import Reply, Request
from driftloop.contracts import batches, headers, requests, subjects
from driftloop.contracts.names import digest
from driftloop.local.nats import NatsServer
from driftloop.modelspec.check import from_dict, load
from driftloop.modelspec.contract import Contract
from driftloop.modelspec.spec import Registered, Spec
from driftloop.runtime.settings import SERVICES
from tests.support import synthetic as syn

SPEC = from_dict(
    {
        "name": "flights",
        "task": "classification",
        "target": {"classes": ["0", "1"]},
        "features": [{"name": "temp", "min": -50, "max": 60}],
    }
)
CSV = "event_id,event_time,temp,label\n" + "".join(
    f"e{n},2024-03-01T00:{n:02d}:00Z,{n},{n % 2}\n" for n in range(60)
)


class Driftloop:
    """Runs the command as a person would."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        command = [sys.executable, "-m", "driftloop.cli", *map(str, arguments), "--url", self._url]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
        out, err = await asyncio.wait_for(process.communicate(), 30)
        return process.returncode or 0, out.decode(), err.decode()


@pytest.fixture
def driftloop(nats_server: NatsServer) -> Driftloop:
    return Driftloop(nats_server.url)


@pytest.fixture
async def world(bus: Bus) -> Bus:
    """A bus with a registered model that has a champion and a run, and all services ready."""
    await bus.specs.write("flights", Registered(spec=SPEC, revision=1, by="test", at=0.0), 0)
    await bus.models.write("flights", syn.state("flights", 7, syn.run(8)), 0)
    for event, origin in syn.promotion("flights", 7):
        await bus.emit(event, origin)
    for name in SERVICES:
        await bus.stat(syn.service(name, 0.0, 1.0))
    return bus


async def test_status_is_0_when_all_is_ready_and_1_when_not(
    world: Bus, driftloop: Driftloop
) -> None:
    code, out, _ = await driftloop("status", "--json")
    assert (code, msgspec.json.decode(out)["ready"]) == (0, True)
    down = syn.service("drift", 0.0, 1.0)
    await world.stat(msgspec.structs.replace(down, ready=False, reason="replaying the log"))
    code, out, err = await driftloop("status")
    assert code == 1
    assert "replaying the log" in out
    assert err.endswith("not ready: drift\n")
    assert "Without drift: no alarm is raised" in out
    assert "1 of 9 services not ready; no model needs a look" in out


async def test_models_and_runs_are_told_to_people_and_scripts(
    world: Bus, driftloop: Driftloop
) -> None:
    _, out, _ = await driftloop("models")
    assert "drift: shadowing version 8" in out
    _, out, _ = await driftloop("models", "--json")
    [model] = msgspec.json.decode(out)
    assert (model["champion"], model["shadows"]) == (7, ["8 (challenger)"])
    _, out, _ = await driftloop("runs", "flights", "--json")
    assert [run["id"] for run in msgspec.json.decode(out)] == ["run-0008"]


async def test_why_tells_the_chain(world: Bus, driftloop: Driftloop) -> None:
    code, out, _ = await driftloop("why", "flights")
    assert code == 0
    assert out.splitlines()[0] == "Version 7 of flights is live because (run-0007):"
    assert len(out.splitlines()) == 9
    code, out, _ = await driftloop("why", "flights", "--json")
    assert [told["kind"] for told in msgspec.json.decode(out)["chain"]][-1] == "model.promoted"


async def test_events_are_one_json_object_a_line(world: Bus, driftloop: Driftloop) -> None:
    _, out, _ = await driftloop("events", "flights", "--json", "--kind", "candidate.trained")
    [told] = [msgspec.json.decode(line) for line in out.splitlines()]
    assert told["event"]["manifest"]["train"]["rows"] == 30_000
    assert told["causation"].startswith("retrain.requested:")
    _, out, _ = await driftloop("events", "--limit", "2", "--since", "1h")
    assert len(out.splitlines()) == 2


async def test_follow_tells_events_as_they_come(world: Bus, nats_server: NatsServer) -> None:
    command = [
        sys.executable,
        "-m",
        "driftloop.cli",
        "events",
        "--follow",
        "--limit",
        "0",
        "--json",
    ]
    process = await asyncio.create_subprocess_exec(
        *command, "--url", nats_server.url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    said = asyncio.create_task(process.stdout.readline())
    for n in range(100):
        await world.emit(syn.alarm("flights", n))
        done, _ = await asyncio.wait([said], timeout=0.2)
        if done:
            break
    assert msgspec.json.decode(said.result())["kind"] == "drift.detected"
    process.terminate()
    await asyncio.wait_for(process.wait(), 10)


async def test_an_order_goes_to_the_registry(world: Bus, driftloop: Driftloop) -> None:
    heard: list[requests.Command] = []

    async def registry(request: Request) -> Reply:
        heard.append(msgspec.msgpack.decode(request.payload, type=requests.Command))
        done = requests.Done(text="version 5 of flights is the champion")
        return Reply(payload=msgspec.msgpack.encode(done))

    await world.serve("command.*", registry)
    code, out, _ = await driftloop("promote", "flights", "5", "--reason", "a better one")
    assert (code, out) == (0, "version 5 of flights is the champion\n")
    assert (heard[0].command, heard[0].version) == ("promote", 5)
    assert (heard[0].reason, bool(heard[0].by)) == ("a better one", True)


async def test_a_spec_is_sent_whole(world: Bus, driftloop: Driftloop, tmp_path: Path) -> None:
    got: list[Spec] = []

    async def registry(request: Request) -> Reply:
        command = msgspec.msgpack.decode(request.payload, type=requests.Command)
        got.append(msgspec.msgpack.decode(command.spec, type=Spec))
        done = requests.Done(text="registered", revision=2)
        return Reply(payload=msgspec.msgpack.encode(done))

    await world.serve("command.*", registry)
    data, spec = tmp_path / "flights.csv", tmp_path / "flights.toml"
    data.write_text(CSV)
    infer = ["-m", "driftloop.cli", "spec", "infer", str(data), "-o", str(spec)]
    process = await asyncio.create_subprocess_exec(sys.executable, *infer)
    assert await process.wait() == 0
    code, out, _ = await driftloop("spec", "apply", spec, "--json")
    assert (code, msgspec.json.decode(out)["revision"]) == (0, 2)
    assert [f.name for f in got[0].features] == ["temp"]


async def test_a_registered_spec_is_shown_as_apply_reads_it(
    world: Bus, driftloop: Driftloop, tmp_path: Path
) -> None:
    code, out, err = await driftloop("spec", "show", "flights", "--toml")
    assert (code, err) == (0, "revision 1 by test\n")
    shown = tmp_path / "flights.toml"
    shown.write_text(out)
    assert load(shown) == SPEC


async def test_where_the_asked_service_is_not_running_the_code_is_3(
    world: Bus, driftloop: Driftloop
) -> None:
    code, _, err = await driftloop("retrain", "flights")
    assert (code, "is it running?" in err) == (3, True)
    code, _, err = await driftloop("retrain", "nothing")
    assert (code, "accepted: flights" in err) == (2, True)


async def test_sql_gives_a_table_json_or_csv(world: Bus, driftloop: Driftloop) -> None:
    async def telemetry(request: Request) -> Reply:
        assert msgspec.msgpack.decode(request.payload, type=requests.SqlQuery).sql == "SELECT 1"
        made = pa.RecordBatch.from_pydict({"model": ["flights"], "rows": [336_776]})
        return Reply(payload=batches.encode(made))

    await world.serve(requests.QUERY_SQL, telemetry)
    _, out, _ = await driftloop("sql", "SELECT 1", "--json")
    assert msgspec.json.decode(out) == [{"model": "flights", "rows": 336_776}]
    _, out, _ = await driftloop("sql", "SELECT 1", "--csv")
    assert out == '"model","rows"\n"flights",336776\n'
    _, out, _ = await driftloop("sql", "SELECT 1")
    assert [line.split() for line in out.splitlines()] == [["model", "rows"], ["flights", "336776"]]


async def play_ingest(bus: Bus, heard: list[pa.RecordBatch]) -> None:
    """Take rows in, check them by the contract, and write both steps to the log."""
    contract = Contract(SPEC)

    async def accept(request: Request) -> Reply:
        batch = batches.decode(request.payload)
        heard.append(batch)
        if request.subject.endswith("rows"):
            await _log(bus, contract, batch)
        answer = requests.Accepted(accepted=batch.num_rows, duplicate=0, batch="x")
        return Reply(payload=msgspec.msgpack.encode(answer))

    await bus.serve("ingest.*.*", accept)


async def _log(bus: Bus, contract: Contract, batch: pa.RecordBatch) -> None:
    def said(state: subjects.RowState, made: pa.RecordBatch, **extra: str) -> Any:
        subject = subjects.rows("flights", state)
        name = f"{state}:{digest(batches.encode(made))}"
        kind = f"rows.{state}"
        return batch_message(subject, made, kind=kind, source="t", msg_id=name, extra=extra)

    await bus.publish([said("received", batch)])
    place = {headers.INPUT: f"ROWS:{await bus.log.last_seq('ROWS')}"}
    checked = contract.check(batch, 2_000_000_000_000)
    made = [("valid", checked.valid), ("quarantined", checked.quarantined)]
    await bus.publish([said(s, b, **place) for s, b in made if b.num_rows])  # type: ignore[arg-type]


async def test_rows_of_a_file_are_sent_and_their_labels_too(
    world: Bus, driftloop: Driftloop, tmp_path: Path
) -> None:
    heard: list[pa.RecordBatch] = []
    await play_ingest(world, heard)
    (tmp_path / "flights.csv").write_text(CSV)
    code, out, _ = await driftloop("send-rows", "flights", tmp_path / "flights.csv", "--json")
    told = msgspec.json.decode(out)
    assert (code, told["sent"], told["quarantined"], told["all_checked"]) == (0, 60, 0, True)
    assert heard[0].schema.names == ["event_id", "event_time", "temp"]
    code, out, _ = await driftloop("send-labels", "flights", tmp_path / "flights.csv")
    assert code == 0
    assert out.startswith("60 labels of flights sent")
    assert heard[1].to_pylist()[1] == {"event_id": "e1", "label": "1", "label_time": None}


async def test_rows_in_quarantine_are_told_with_their_reasons_and_code_1(
    world: Bus, driftloop: Driftloop, tmp_path: Path
) -> None:
    await play_ingest(world, [])
    (tmp_path / "flights.csv").write_text(CSV.replace(",7,", ",700,").replace(",8,", ",hot,"))
    code, out, err = await driftloop("send-rows", "flights", tmp_path / "flights.csv")
    assert code == 1
    assert out.startswith("60 rows of flights sent")
    assert "2 rows were quarantined:" in err
    assert "1 x temp: '700' is out of range; accepted: a finite number from -50 to 60" in err
    assert "1 x temp: 'hot' is not a number" in err


async def test_predict_shows_the_answer(world: Bus, driftloop: Driftloop) -> None:
    asked: list[Any] = []

    async def inference(request: Request) -> Reply:
        assert request.headers["content-type"] == "application/json"
        asked.append(msgspec.json.decode(request.payload))
        made = requests.Prediction(
            model="flights", version=7, predictions=["1"], probabilities=[{"0": 0.2, "1": 0.8}]
        )
        return Reply(payload=msgspec.json.encode(made))

    await world.serve("infer.*", inference)
    code, out, _ = await driftloop("predict", "flights", "--row", '{"temp": 3}')
    assert (code, out) == (0, "1  (0 0.2000, 1 0.8000)  version 7\n")
    assert asked == [{"rows": [{"temp": 3}]}]
    code, _, err = await driftloop("predict", "flights", "--row", "[]")
    assert (code, err.startswith("--row: ")) == (2, True)
