"""Replicas of a service as `driftloop up` starts them, and rows and labels to feed them."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
from prometheus_client.parser import text_string_to_metric_families

from driftloop.bus.bus import Bus
from driftloop.bus.log import rows_total
from driftloop.bus.messages import batch_message
from driftloop.contracts import subjects
from driftloop.contracts.events import DataAccumulated
from driftloop.local.child import Child
from driftloop.local.system import System
from tests.support.flows import eventually, held, rows_held
from tests.support.loop import labels, scored

LAST_WORDS = 4_000
"""Characters of each log that a failure shows."""


@contextlib.asynccontextmanager
async def system(
    folder: Path, *services: str, **environment: str
) -> AsyncIterator[tuple[System, Bus]]:
    """Two replicas of each service, and a bus beside them."""
    made = System(
        folder,
        base_port=0,
        nats_port=0,
        environment=environment,
        services=services,
        replicas=dict.fromkeys(services, 2),
        secure=False,  # tests write specs and states in the registry's place
    )
    try:
        await made.start()
        async with made.bus() as bus:
            yield made, bus
    except Exception as error:
        for path in sorted((folder / "logs").glob("*.log")):
            error.add_note(f"{path.name} ends:\n{path.read_text(errors='replace')[-LAST_WORDS:]}")
        raise
    finally:
        await made.stop()


async def metric(its: System, child: Child, name: str) -> float:
    """The sum of a metric over its labels; NaN if nobody answers."""
    try:
        async with httpx.AsyncClient() as http:
            text = (await http.get(f"{its.http(child.name)}/metrics", timeout=1.0)).text
    except httpx.HTTPError:
        return float("nan")
    families = text_string_to_metric_families(text)
    return sum(s.value for f in families for s in f.samples if s.name == f"driftloop_{name}")


async def owner(its: System, service: str, but: Iterable[Child] = ()) -> Child:
    """The replica that owns one partition; not one of `but`."""
    asked = [child for child in its.children.values() if child not in but]
    owned: dict[str, float] = {}

    async def known() -> bool:
        for child in asked:
            owned[child.name] = await metric(its, child, f"{service}_partitions")
        return 1 in owned.values()

    try:
        await eventually(known, f"an owner of {service}")
    except AssertionError as error:
        error.add_note(f"partitions owned: {owned}")
        raise
    return next(child for child in asked if owned[child.name] == 1)


async def kill(child: Child) -> None:
    """SIGKILL, and wait until `up` has started it again."""
    assert child.process is not None
    killed = child.process.pid
    child.process.kill()

    async def again() -> bool:
        return child.process is not None and child.process.pid != killed

    await eventually(again, f"{child.name} is started again")


class Feed:
    """Scored rows and labels, some early, late, wrong or twice, the same for every model."""

    def __init__(self, bus: Bus, model: str, seed: int) -> None:
        self.rows = self.wrong = 0
        self.model, self._bus = model, bus
        self._drawn = np.random.default_rng(seed)
        self._late: list[tuple[str, str | None]] = []

    async def send(self, batches: int) -> None:
        """So many more batches of 20 rows, and labels for nine in ten of them."""
        for _ in range(batches):
            name, first = f"{self.rows}", self.rows
            self.rows += 20
            ids = [f"e{at}" for at in range(first, self.rows)]
            now: list[tuple[str, str | None]] = [
                (e, "yes") for e in ids if self._drawn.random() < 0.9
            ]
            self._late += [(e, "no") for e in ids if (e, "yes") not in now]
            now += [(e, "no") for e in ids[:3]] + [(f"w{name}", "?")]
            self.wrong += 1
            said = [self._scored(name, ids), self._labels(name, now)]
            for saying in said if first % 60 else reversed(said):
                await saying

    async def settled(self) -> None:
        """Send the late labels; wait until all is joined or given up."""
        await self._labels("late", self._late)

        async def true() -> bool:
            dead = await held(self._bus, "DEAD", subjects.dead("feedback", self.model))
            gone = sum(int(m.headers["dl-rows"]) for m in dead)
            return await total(self._bus, self.model) >= self.rows and gone >= self.wrong

        await eventually(true, f"{self.rows} outcomes of {self.model}, {self.wrong} given up")

    async def _scored(self, name: str, ids: list[str]) -> None:
        batch = scored(ids, version=1, chances=[0.5] * len(ids))
        await self._say(subjects.scored(self.model), batch, name)

    async def _labels(self, name: str, given: list[tuple[str, str | None]]) -> None:
        await self._say(subjects.labels(self.model), labels(given), name)

    async def _say(self, subject: str, batch: pa.RecordBatch, name: str) -> None:
        said = batch_message(subject, batch, kind="x", source="test", msg_id=f"{subject}:{name}")
        await self._bus.publish([said])


async def total(bus: Bus, model: str) -> int:
    """Outcomes said so far."""
    last = await bus.log.last("OUTCOMES", subjects.outcomes(model))
    return rows_total(last) if last is not None else 0


async def exact(bus: Bus, feed: Feed) -> None:
    """Each row has one outcome, each wrong label was given up once, totals and marks go on."""
    messages = await held(bus, "OUTCOMES", subjects.outcomes(feed.model))
    ids = Counter(e for m in messages for e in m.batch().column(0).to_pylist())
    assert ids == Counter(f"e{at}" for at in range(feed.rows))
    sums = np.cumsum([m.batch().num_rows for m in messages]).tolist()
    assert [rows_total(m) for m in messages] == sums
    given_up = await rows_held(bus, "DEAD", subjects.dead("feedback", feed.model))
    assert sorted(row["event_id"] for row in given_up) == sorted(
        f"w{number * 20}" for number in range(feed.wrong)
    )
    said = await held(bus, "EVENTS", subjects.event(feed.model, DataAccumulated.kind))
    marks = [m.event() for m in said]
    rows = [mark.rows for mark in marks if isinstance(mark, DataAccumulated)]
    assert rows == sorted(set(rows))
    assert rows[-1] == feed.rows // 100 * 100
