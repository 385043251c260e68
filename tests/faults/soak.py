"""An hour's worth of events in some minutes, with `kill -9` all the time; the books must close.

`python -m tests.faults.soak --minutes 10 --seed 3`, or `make soak ARGS='--minutes 10 --seed 3'`.

Memory is compared at the same age, since a process that was killed begins anew. Of each service:
what it has at the age of one minute, the latest life beside the first; and what it has at its end
beside what it had at one minute, if it lived for two at least. The larger ratio counts. It is the
memory of the process itself: those it starts for a fit, a gate or a shadow come and go with these.
The join remembers `JOIN_ROWS` rows, so that it is as full after a minute as it will ever be.
"""

import argparse
import asyncio
import contextlib
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import psutil

from driftloop.modelspec.check import parse
from driftloop.runtime.settings import SERVICES
from tests.support.ledger import Asking
from tests.support.processes import driftloop
from tests.support.rig import Rig, rig
from tests.support.world import spec_text, world

HOUR_ROWS = 360_000
"""Rows of an hour at 100 a second; each has a label."""
EACH = 200
JOIN_ROWS = 36_000
KILL_SECONDS = 10.0
MINUTE = 60.0
MOST_GROWTH = 0.10
SETTLE_SECONDS = 120.0
BROKER = "nats"


class Sample(NamedTuple):
    """Resident MiB of a process at an age in seconds."""

    age: float
    mib: float


class Memory:
    """Samples of every life of every service."""

    def __init__(self) -> None:
        self._lives: defaultdict[str, dict[int, list[Sample]]] = defaultdict(dict)

    def add(self, name: str, pid: int, age: float, mib: float) -> None:
        """Note one sample."""
        self._lives[name].setdefault(pid, []).append(Sample(age, mib))

    def at_a_minute(self, name: str) -> list[float]:
        """MiB of each life that was a minute old, in order: the median of some seconds around."""
        found = [_around(life, MINUTE) for life in self._lives[name].values()]
        return [mib for mib in found if mib]

    def ratios(self, name: str) -> list[float]:
        """The latest life beside the first at a minute, and long lives at their end beside that."""
        minutes = self.at_a_minute(name)
        found = [minutes[-1] / minutes[0]] if len(minutes) > 1 else []
        for life in self._lives[name].values():
            if life[-1].age > 2 * MINUTE:
                found.append(_around(life, life[-1].age) / _around(life, MINUTE))
        return found


def _around(life: Iterable[Sample], age: float) -> float:
    near = [sample.mib for sample in life if abs(sample.age - age) <= 5.0]
    return statistics.median(near) if near else 0.0


async def sample(its: Rig, memory: Memory, stop: asyncio.Event) -> None:
    """Look at every process each second."""
    while not stop.is_set():
        for name, child in its.system.children.items():
            with contextlib.suppress(psutil.Error):
                rss = its.process(name).memory_info().rss
                memory.add(
                    name, its.process(name).pid, time.monotonic() - child.started, rss / 2**20
                )
        await asyncio.sleep(1.0)


async def send(its: Rig, rows: int, seconds: float) -> None:
    """Rows and labels at a steady rate; what was held up is made up for without a pause."""
    began, first = time.monotonic(), its.sent
    while (sent := its.sent - first) < rows:
        await its.send(min(EACH, rows - sent))
        due = began + seconds * (its.sent - first) / rows
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def kill(its: Rig, moments: random.Random, stop: asyncio.Event, kills: Counter[str]) -> None:
    """One victim every ten seconds, the broker among them."""
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), KILL_SECONDS)
        except TimeoutError:
            name = moments.choice((*SERVICES, BROKER))
            kills[name] += 1
            its.process(name).kill()


async def soak(minutes: float, seed: int, folder: Path) -> bool:
    """Everything; whether all of it held."""
    moments, seconds = random.Random(seed), 60.0 * minutes
    rows = int(HOUR_ROWS)
    table = world(rows + 10_000, rows // 3, seed)
    stop, memory, kills = asyncio.Event(), Memory(), Counter[str]()
    spec = parse(f"{spec_text('soak')}\n[join]\nmax_rows = {JOIN_ROWS}\n")
    async with rig(folder, spec=spec, table=table) as its:
        asking = its.asking()
        beside = [
            asyncio.create_task(sample(its, memory, stop)),
            asyncio.create_task(kill(its, moments, stop, kills)),
            asyncio.create_task(asking.run(stop, 0.05)),
        ]
        began = time.monotonic()
        try:
            await send(its, rows, seconds)
        finally:
            stop.set()
            await asyncio.gather(*beside)
        tell(f"{its.ledger.size:,} rows and labels in {time.monotonic() - began:.0f} s")
        try:
            await its.system.ready()
            closed = await books_close(its)
        except RuntimeError as error:
            tell(f"NOT READY: {error}")
            closed = False
        held = report(memory, kills, asking, its.ledger.gap)
    return closed and held


async def books_close(its: Rig) -> bool:
    """The ledger, the champion, the runs, and what `driftloop audit` says."""
    began = time.monotonic()
    try:
        await its.check(champion=0)
    except AssertionError as error:
        tell(f"NOT CLOSED: {error}")
        return False
    tell(f"every row and label is there once, {time.monotonic() - began:.1f} s later")
    code, out, err = await driftloop(
        its.system.url,
        *("audit", "--model", its.model, "--settle", f"{SETTLE_SECONDS:g}"),
        keys=its.system.keys,
    )
    tell(out + err)
    return code == 0


def report(memory: Memory, kills: Counter[str], asking: Asking, gap: float) -> bool:
    """Print the table; whether memory kept its bound."""
    tell(f"{'killed':12} {'times':>5} {'lives':>5} {'MiB at 1 min: first, last':>26} {'ratio':>6}")
    good = True
    for name in (*SERVICES, BROKER):
        minutes, ratios = memory.at_a_minute(name), memory.ratios(name)
        ends = f"{minutes[0]:.0f}, {minutes[-1]:.0f}" if minutes else ""
        largest = max(ratios, default=0.0)
        good &= largest <= 1 + MOST_GROWTH
        shown = f"{largest:.2f}" if ratios else ""
        tell(f"{name:12} {kills[name]:5} {kills[name] + 1:5} {ends:>26} {shown:>6}")
    failed = Counter(reason.partition(":")[0] for reason in asking.failed)
    tell(
        f"{asking.versions.total():,} predictions by versions {sorted(asking.versions)}, "
        f"p99 {asking.p99() * 1e3:.1f} ms; {failed.total()} failed while inference was down"
    )
    tell(f"longest time without an acknowledgement: {gap:.1f} s")
    return good


def tell(text: str) -> None:
    """Say it at once, though the output be a file."""
    print(text, flush=True)  # noqa: T201  # a program's output


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    tell(f"seed {seed}, {given.minutes:g} minutes")
    with tempfile.TemporaryDirectory(prefix="driftloop-soak-") as folder:
        good = asyncio.run(soak(given.minutes, seed, Path(folder)))
    tell("held" if good else f"DID NOT HOLD; again: --minutes {given.minutes:g} --seed {seed}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
