"""A console with a thousand models that say a thousand events a second, and two open pages.

The models, events and measurements are made up; NATS, the console and the browser are real. How
long the pages' main thread was blocked is what the browser itself reports as long tasks.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import psutil

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Outgoing, event_message
from driftloop.bus.rights import ADMIN
from driftloop.contracts import events as e
from driftloop.contracts.headers import Origin
from driftloop.local.system import System
from driftloop.modelspec.spec import Registered
from tests.browser.browser import Window, windows
from tests.browser.story import SPEC
from tests.support import synthetic as syn

TICK_SECONDS: Final = 0.05
MEASURED: Final = 100
"""Models of which a measurement is said each second, so that their cards change."""
BUSY_RUN: Final = 7
"""Every so many models there is one with a run in progress."""
LONG_TASKS: Final = """() => {
  window.__long = [];
  new PerformanceObserver((list) => {
    for (const its of list.getEntries()) window.__long.push(its.duration);
  }).observe({ type: "longtask" });
}"""
WARM_SECONDS: Final = 30.0
"""From when on the console's memory is to stay what it is, in a run of two minutes."""


@dataclass
class Measured:
    """What a run of so many `seconds` gave."""

    models: int
    seconds: float
    events: int = 0
    shown: int = 0
    """Events that the feed said it was told a second, at the end."""
    long: dict[str, list[float]] = field(default_factory=dict)
    """Milliseconds of each long task, by page."""
    memory: list[tuple[float, float]] = field(default_factory=list)
    """Seconds since the start and resident MB of the console."""
    cpu: float = 0.0
    """CPU seconds of the console."""

    @property
    def longest(self) -> float:
        """The longest block of a page's main thread, in milliseconds."""
        return max((max(its, default=0.0) for its in self.long.values()), default=0.0)

    def growth(self, warm: float = WARM_SECONDS) -> float:
        """By what share the console's memory has grown since so many seconds after the start.

        The largest of the last third against the largest until then: it goes up and down.
        """
        early = [mb for at, mb in self.memory if at <= max(warm, self.memory[0][0])]
        late = [mb for at, mb in self.memory if at >= 2 * self.seconds / 3]
        return max(late) / max(early) - 1

    def table(self) -> str:
        """For people."""
        speed = f"{self.events / self.seconds:,.0f}/s for {self.seconds:g} s"
        lines = [
            f"models                          {self.models:>8,}",
            f"events said                     {self.events:>8,}  ({speed})",
            f"events a second in the feed     {self.shown:>8,}",
        ]
        for name, tasks in self.long.items():
            lines.append(
                f"longest block, {name:<16} {max(tasks, default=0.0):>8.0f} ms"
                f"  ({len(tasks)} over 50 ms)"
            )
        first, last = self.memory[0][1], self.memory[-1][1]
        lines += [
            f"memory of the console           {first:>8.0f} MB at first, {last:.0f} MB at the end,"
            f" {max(mb for _, mb in self.memory):.0f} MB at most",
            f"growth after {WARM_SECONDS:g} s               {self.growth():>8.1%}",
            f"CPU of the console              {self.cpu / self.seconds:>8.0%} of a core",
        ]
        return "\n".join(lines)


async def measure(folder: Path, *, models: int, rate: int, seconds: float) -> Measured:
    """Open the overview and the feed while `models` say `rate` events a second for so long."""
    made = Measured(models, seconds)
    async with _console(folder) as (system, bus):
        names = [f"model-{number:04d}" for number in range(models)]
        await _register(bus, names)
        async with windows(system.http("console")) as opened:
            await opened.person("ann")
            pages = {name: await opened.open("ann", f"#/{name}") for name in ("", "events")}
            await pages[""].sees("h1", f"{models:,} models")
            for window in pages.values():
                await window.sees(".link", "live")
                await window.script(LONG_TASKS)
            process = system.children["console"].process
            assert process is not None
            await _run(made, bus, names, rate, pages["events"], psutil.Process(process.pid))
            for name, window in pages.items():
                made.long[name or "overview"] = await window.script("() => window.__long")
                assert window.complaints == []
    return made


async def _run(
    made: Measured, bus: Bus, names: list[str], rate: int, feed: Window, console: psutil.Process
) -> None:
    """Say events at a steady rate, look at the console's memory each second, read the feed's."""
    began, cpu, number = time.monotonic(), sum(console.cpu_times()[:2]), itertools.count(1)
    look = began
    while (now := time.monotonic()) - began < made.seconds:
        due = int((now - began) * rate) - made.events
        group = [_event(names, next(number)) for _ in range(min(due, rate))]
        if group:
            await bus.publish(group)
            made.events += len(group)
        if now >= look:
            look += 1.0
            made.memory.append((now - began, console.memory_info().rss / 1e6))
            for at in range(MEASURED):
                name = names[(int(now) * MEASURED + at) % len(names)]
                await bus.stat(syn.score(name, "loss", mean=0.1 + at / 1_000, rows=made.events))
        await asyncio.sleep(TICK_SECONDS)
    made.cpu = sum(console.cpu_times()[:2]) - cpu
    said = await feed.at(".events-head .quiet").inner_text()
    made.shown = int(said.split()[0].replace(",", ""))


def _event(names: list[str], number: int) -> Outgoing:
    """Mostly what is said all the time; now and then an alarm."""
    model = names[number * 7919 % len(names)]
    event: e.AnyEvent = syn.alarm(model, number)
    if number % 20:
        event = e.DataAccumulated(model=model, rows=500 * number, outcomes_seq=number)
    return event_message(event, source="crowd", origin=Origin())


async def _register(bus: Bus, names: list[str]) -> None:
    """The spec and the state of each model, as the registry would have written them."""
    for at, name in enumerate(names):
        spec = Registered(
            spec=msgspec.structs.replace(SPEC, name=name), revision=1, by="crowd", at=0.0
        )
        await bus.specs.write(name, spec, 0)
        running = None if at % BUSY_RUN else syn.run(4)
        await bus.models.write(name, syn.state(name, 3, running), 0)


@contextlib.asynccontextmanager
async def _console(folder: Path) -> AsyncIterator[tuple[System, Bus]]:
    """NATS and the console, which has nobody else to talk to; without keys, for we sign nothing."""
    system = System(
        folder,
        base_port=0,
        nats_port=0,
        services=("console",),
        secure=False,
        hang_seconds=0.0,
    )
    try:
        await system.start()
        async with system.bus(ADMIN) as bus:
            yield system, bus
    finally:
        await system.stop()
