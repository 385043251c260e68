"""The whole system, started by `driftloop up`: the loop closes by itself, and tells about it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from driftloop.client.client import Client
from driftloop.contracts.requests import Prediction
from tests.support.processes import Up, driftloop, left, services_of, taken, unready
from tests.support.replaying import Replaying, audit, of_kind, replaying
from tests.support.world import spec_text

ROWS, CHANGE, MODEL = 7_000, 3_000, "world"
STOP_SECONDS = 10.0
FIRST_ANSWER_SECONDS = 15.0
IDLE_BYTES = 2 << 30
pytestmark = pytest.mark.asyncio(loop_scope="module")

ROW = {"x": -2.0, "y": 0.5, "place": "coast"}
"""After the change nearly always a 1."""


class Replayed(NamedTuple):
    """A system through which the world has been replayed, and what ClickHouse counts."""

    up: Up
    done: Replaying
    counts: dict[str, int]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replayed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Replayed]:
    """A running system after the replay. The tests run in the order of this file."""
    folder = tmp_path_factory.mktemp("up")
    spec = folder / "world.toml"
    spec.write_text(spec_text(MODEL))
    up = Up(folder / "data", [spec]).start()
    try:
        await up.ready()
        async with replaying(
            up.url, MODEL, rows=ROWS, change=CHANGE, registered=True, keys=up.keys
        ) as done:
            await done.replay.run()
            counts = await audit(done)
        yield Replayed(up, done, counts)
    finally:
        up.end()


async def test_a_change_of_the_world_ends_in_a_promotion(replayed: Replayed) -> None:
    kinds = [event.kind for event in replayed.done.events if event.kind != "data.accumulated"]

    assert kinds == [
        "spec.registered",
        *("retrain.requested", "training.started", "candidate.trained", "candidate.approved"),
        *("model.promoted", "run.finished"),
        "performance.degraded",
        *("retrain.requested", "training.started", "candidate.trained", "candidate.approved"),
        *("shadow.started", "shadow.concluded", "model.promoted"),
        *("shadow.started", "shadow.concluded", "model.retired", "run.finished"),
    ]
    assert [run.trigger for run in of_kind(replayed.done, "run.finished")] == [
        "bootstrap",
        "degraded",
    ]
    assert [shadow.role for shadow in of_kind(replayed.done, "shadow.started")] == [
        "challenger",
        "probation",
    ]


async def test_a_candidate_is_fitted_on_the_rows_since_the_change(replayed: Replayed) -> None:
    second = of_kind(replayed.done, "candidate.trained")[1].manifest

    assert [window.name for window in second.tried if window.chosen] == ["since_change"]
    assert second.train.rows + second.holdout.rows < ROWS - CHANGE


async def test_each_event_of_a_run_answers_an_earlier_one(replayed: Replayed) -> None:
    answered = {message.event_id for _, message in replayed.done.watch.events}
    said = [(e, m) for e, m in replayed.done.watch.events if getattr(e, "run", "")]

    for event, message in said:
        assert message.origin().causation
        assert message.headers["dl-correlation"] == event.run  # type: ignore[union-attr]  # it has one
        assert message.headers["dl-causation"] in answered


async def test_the_accounting_closes_in_sql(replayed: Replayed) -> None:
    statement = (
        "SELECT (SELECT count() FROM rows_valid FINAL) AS valid,"
        " (SELECT count() FROM quarantine FINAL) AS quarantined,"
        " (SELECT count() FROM scored FINAL"
        " WHERE event_id IN (SELECT event_id FROM rows_valid)) AS scored,"
        " (SELECT count() FROM outcomes FINAL) AS outcomes,"
        " (SELECT count() FROM unmatched FINAL) AS unmatched"
    )
    (counts,) = await _told(replayed, "sql", statement)

    assert counts == {name: replayed.counts[name] for name in counts}
    assert counts["valid"] + counts["quarantined"] == ROWS
    assert counts["valid"] == counts["scored"] == counts["outcomes"]
    assert counts["quarantined"] == counts["unmatched"] > 0


async def test_the_command_line_tells_the_story(replayed: Replayed) -> None:
    why, models, runs, status = await asyncio.gather(
        _told(replayed, "why", MODEL),
        _told(replayed, "models"),
        _told(replayed, "runs", MODEL),
        _told(replayed, "status"),
    )

    assert why["champion"] == 2
    assert [told["kind"] for told in why["chain"]][:2] == [
        "performance.degraded",
        "retrain.requested",
    ]
    assert why["chain"][-1]["kind"] == "model.promoted"
    assert [m["champion"] for m in models] == [2]
    assert [(run["trigger"], run["verdict"]) for run in runs] == [
        ("degraded", "promoted"),
        ("bootstrap", "promoted"),
    ]
    assert status["ready"]


async def test_the_events_are_machine_readable_one_a_line(replayed: Replayed) -> None:
    code, out, _ = await driftloop(
        replayed.up.url, "events", MODEL, "--json", "--limit", "1000", keys=replayed.up.keys
    )

    assert code == 0
    told = [json.loads(line)["id"] for line in out.splitlines()]
    assert told == [message.event_id for _, message in replayed.done.watch.events]


async def test_why_reads_from_the_trigger_to_the_champion(replayed: Replayed) -> None:
    code, out, _ = await driftloop(replayed.up.url, "why", MODEL, keys=replayed.up.keys)

    assert code == 0
    assert out.startswith(f"Version 2 of {MODEL} is live because")
    assert out.index("performance.degraded") < out.index("shadow.concluded") < out.index("promoted")


async def test_the_champion_answers_over_http_nats_and_the_command_line(replayed: Replayed) -> None:
    by_http = await _predict(replayed.up)
    async with Client(replayed.up.url, key=f"{replayed.up.keys}/client.nk") as client:
        by_nats: Prediction = await client.predict(MODEL, [ROW])
    by_command = await _told(replayed, "predict", MODEL, "--row", json.dumps(ROW))

    assert (by_nats.version, by_nats.predictions) == (2, ["1"])
    assert by_http | {"event_ids": []} == by_command | {"event_ids": []}
    assert all(len(answer["event_ids"]) == 1 for answer in (by_http, by_command))
    assert (by_http["version"], by_http["predictions"]) == (2, ["1"])
    assert by_http["probabilities"] == by_nats.probabilities


async def test_all_services_idle_together_keep_within_their_memory(replayed: Replayed) -> None:
    processes = replayed.up.processes()
    resident = sum(process.memory_info().rss for process in processes)
    print(f"{resident >> 20} MiB resident in {len(processes)} processes")  # noqa: T201

    assert resident < IDLE_BYTES


async def test_a_second_system_in_the_same_folder_is_refused(replayed: Replayed) -> None:
    second = Up(replayed.up.data, []).start()
    try:
        code = await asyncio.to_thread(second.process.wait, 20)
    finally:
        second.end()

    assert code == 3
    assert "is in use by another running system" in " ".join(second.said().split())
    assert await unready(replayed.up) == {}


async def test_ctrl_c_stops_everything_and_leaves_no_process(replayed: Replayed) -> None:
    processes = replayed.up.processes()
    assert len(processes) > 10

    replayed.up.ctrl_c()

    assert await asyncio.to_thread(left, processes, STOP_SECONDS) == []
    assert replayed.up.process.wait() == 0
    assert services_of(replayed.up.url) == []
    assert await asyncio.to_thread(taken, replayed.up) == []


async def test_the_champion_answers_soon_after_a_restart(replayed: Replayed) -> None:
    began = time.monotonic()
    again = Up(replayed.up.data, []).start()
    try:
        answer = await _first_answer(again)
        seconds = time.monotonic() - began
        print(f"first answer after {seconds:.1f} s")  # noqa: T201  # a figure to watch
        await again.ready()
        processes = again.processes()
        again.process.kill()  # and its services end with it
        still = await asyncio.to_thread(left, processes, STOP_SECONDS)
    finally:
        again.end()

    assert (answer["version"], answer["predictions"]) == (2, ["1"])
    assert seconds < FIRST_ANSWER_SECONDS
    assert still == []
    assert services_of(again.url) == []


async def _told(replayed: Replayed, *arguments: str | Path) -> Any:
    """What a command says as JSON."""
    code, out, err = await driftloop(replayed.up.url, *arguments, "--json", keys=replayed.up.keys)
    assert code == 0, err
    return json.loads(out)


async def _predict(up: Up) -> Any:
    async with httpx.AsyncClient() as http:
        answer = await http.post(
            f"{up.http('inference')}/v1/models/{MODEL}/predict", json={"rows": [ROW]}
        )
    answer.raise_for_status()
    return answer.json()


async def _first_answer(up: Up) -> Any:
    deadline = time.monotonic() + 60
    while True:
        try:
            return await _predict(up)
        except httpx.HTTPError:
            assert time.monotonic() < deadline, up.said()
            await asyncio.sleep(0.05)
