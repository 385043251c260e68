"""`driftloop report` over a real console with a past: its numbers are those of the log."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.console.app import wire
from driftloop.console.settings import ConsoleSettings
from driftloop.local.nats import NatsServer
from driftloop.local.ports import free_port
from driftloop.modelspec.losses import row_loss
from driftloop.runtime.http import HttpServer
from driftloop.runtime.settings import environment_of_child
from tests.support import history as past
from tests.support import synthetic as syn
from tests.support.telemetry import all_kept, telemetry

pytestmark = pytest.mark.asyncio(loop_scope="module")
DEADLINE = 10.0


class Told(NamedTuple):
    """The report as it was written, its text without marks, the console, and the rows."""

    document: str
    text: str
    http: httpx.AsyncClient
    world: past.World

    async def get(self, path: str, **query: str) -> Any:
        answer = await self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


async def inference(bus: Bus) -> None:
    """Two processes: 20 CPU seconds for 400,000 rows, 10 for 600,000 rows of another model."""
    for url, model, cpu, rows in (("a", "flights", 20.0, 400_000), ("b", "churn", 10.0, 600_000)):
        for share in (0.0, 0.5, 1.0):
            counters = {f"scored_rows__{model}": 5.0 + rows * share}
            stat = syn.service("inference", 1.0, 3.0 + cpu * share, **counters)
            changed = {name: getattr(stat, name) for name in stat.__struct_fields__}
            await bus.stat(type(stat)(**(changed | {"url": url})))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Told]:
    folder = tmp_path_factory.mktemp("report")
    server = NatsServer(folder / "nats", port=0)
    server.start()
    bus = await Bus.open(server.url, "test", layout=Layout())
    world = past.World()
    await past.say_events(bus)
    await past.say_rows(bus, world)
    await past.say_stats(bus, world)
    await inference(bus)
    async with telemetry(server.url, folder / "clickhouse"):
        await all_kept(bus)
        own = await Bus.open(server.url, "console")
        settings = ConsoleSettings(port=free_port(), cpu_hour_price="0.04 EUR")
        wired = await wire(settings, own)
        assert wired.http is not None
        tasks = [asyncio.create_task(task) for task in wired.tasks]
        http = HttpServer(wired.http, settings.host, settings.port)
        await http.start()
        url = f"http://{settings.host}:{settings.port}"
        async with httpx.AsyncClient(base_url=url, timeout=30.0) as client:
            written = await asyncio.to_thread(report, url, folder / "flights.html")
            text = " ".join(re.sub(r"<[^>]*>", " ", written.partition("</style>")[2]).split())
            yield Told(written, text, client, world)
        own.stopping.set()
        await http.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), DEADLINE)
        await own.close()
    await bus.close()
    server.stop()


def report(console: str, out: Path) -> str:
    """What the command writes."""
    command = [sys.executable, "-m", "driftloop.cli", "report", past.MODEL]
    done = subprocess.run(
        [*command, "--console", console, "--out", str(out)],
        env=environment_of_child({"PYTHONPATH": os.pathsep.join(sys.path)}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(out) in done.stdout
    return out.read_text("utf-8")


async def test_the_loss_is_that_of_all_labelled_rows(told: Told) -> None:
    rows = slice(0, past.LABELLED)
    losses = row_loss(past.SPEC)(told.world.answers[rows], told.world.labels[rows])
    known = losses[losses == losses]  # not of answers without a number
    assert f"{known.mean():.4g} mean brier loss" in told.text
    assert f"{len(known):,} rows answered and labelled" in told.text


async def test_what_happened_is_that_of_the_events(told: Told) -> None:
    assert "raised 2 drift alarms, promoted 2 versions and rolled back 0." in told.text
    for version in (2, 3):
        assert f"version {version} against {version - 1}, 1,840 rows" in told.text
        made = syn.manifest(past.MODEL, version)
        rows = f"30,000 rows, OUTCOMES {made.train.first_seq} to {made.train.last_seq}"
        assert rows in told.text
        assert f"model {made.model_sha256[:12]}" in told.text
    assert "+0.0012 to +0.0213" in told.text
    assert "Where an old champion answered beside its successor (2,000 rows)" in told.text


async def test_costs_are_those_of_manifests_and_samples(told: Told) -> None:
    costs = await told.get(f"/api/models/{past.MODEL}/costs")
    assert [one["cost"]["cpu_seconds"] for one in costs["trainings"]] == [11.9, 11.9]
    assert costs["training"]["money"] == pytest.approx(23.8 / 3_600 * 0.04)
    each = costs["predictions"]
    assert (each["rows"], each["model_rows"]) == (1_000_000, 400_000)
    assert each["per_million"]["cpu_seconds"] == pytest.approx(30.0)
    assert "2 trainings took 23.8 CPU s, 0.00026 EUR." in told.text
    assert "0.00033 EUR a million predictions (30.0 CPU s)" in told.text


async def test_the_cost_of_a_version_has_its_price(told: Told) -> None:
    found = await told.get(f"/api/models/{past.MODEL}/versions/3")
    assert found["cost"]["currency"] == "EUR"
    assert found["cost"]["money"] == pytest.approx(11.9 / 3_600 * 0.04)


async def test_a_period_leaves_out_what_was_before(told: Told) -> None:
    later = await told.get(f"/api/models/{past.MODEL}/costs", since="4000000000")
    assert (later["trainings"], later["predictions"]) == ([], None)


async def test_nothing_in_it_is_from_elsewhere(told: Told) -> None:
    for mark in ("<script", "<link", "<img", "<iframe", "<a ", "href=", "src=", "url(", "@import"):
        assert mark not in told.document
