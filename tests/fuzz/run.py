"""A run: inputs of each door in their order, good requests between them, and what was found."""

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import msgspec

from tests.fuzz.case import Case, Door, Result
from tests.fuzz.scene import Scene

LOOK_SECONDS = 1.0
"""How often the processes are looked at."""
MOST_FOUND = 20
"""Of one door; after so many it is clear that it has a fault."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that must not be; `first` and `last` number the inputs it may be from."""

    door: str
    first: int
    last: int
    problem: str
    case: Case | None = None


@dataclass
class Tally:
    """What became of a door's inputs."""

    wanted: int
    sent: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    found: int = 0


def case_of(door: Door, seed: int, number: int) -> Case:
    """Input `number` of a door: the same for the same seed, whatever else is sent."""
    return door.make(Random(f"{seed}/{door.name}/{number}"))


def shares(doors: Sequence[Door], inputs: int) -> dict[str, int]:
    """How many of the inputs go to each door: by its share, `inputs` in all."""
    whole = sum(door.share for door in doors)
    parts = {door.name: int(inputs * door.share / whole) for door in doors}
    parts[doors[0].name] += inputs - sum(parts.values())
    return parts


class Run:
    """One run over some doors; `done` is called with the number of inputs after each."""

    def __init__(
        self,
        scene: Scene,
        doors: Sequence[Door],
        seed: int,
        inputs: int,
        *,
        first: int = 0,
        every: int = 500,
        seconds: float = math.inf,
        save: Path | None = None,
        done: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._scene = scene
        self._doors = doors
        self._seed = seed
        self._first = first
        self._every = every
        self._until = time.monotonic() + seconds
        self._save = save
        self._done = done
        self.tallies = {n: Tally(wanted) for n, wanted in shares(doors, inputs).items()}
        self.findings: list[Finding] = []
        self.controls = 0
        self._since: dict[str, int] = dict.fromkeys(self.tallies, first)
        self._dead = False

    @property
    def sent(self) -> int:
        """Inputs so far."""
        return sum(tally.sent for tally in self.tallies.values())

    async def go(self) -> None:
        """Send all, and look at the processes meanwhile."""
        await self._look()
        watch = asyncio.create_task(self._watch())
        try:
            async with asyncio.TaskGroup() as tasks:
                for door in self._doors:
                    numbers = iter(range(self._first, self._first + self.tallies[door.name].wanted))
                    for _ in range(door.at_once):
                        tasks.create_task(self._feed(door, numbers))
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
        await self._look()
        if not self._dead:
            problem = await self._scene.settled(120)
            if problem:
                self._found("all", 0, self.sent, problem)
        for problem in self._scene.grown():
            self._found("all", 0, self.sent, problem)
        await self._again()

    async def _again(self) -> None:
        """Nothing that is in the logs and the buckets now keeps a service from starting."""
        problems = await self._scene.restarted()
        problems += await self._scene.good() if not problems else []
        for problem in problems:
            self._found("all", 0, self.sent, f"after a restart: {problem}")
        await self._look()

    async def _feed(self, door: Door, numbers: Iterator[int]) -> None:
        tally = self.tallies[door.name]
        for number in numbers:
            if self._dead or tally.found >= MOST_FOUND or time.monotonic() > self._until:
                return
            case = case_of(door, self._seed, number)
            began = time.perf_counter()
            try:
                result = await door.send(self._scene, case)
            except TimeoutError:
                result = Result("closed", "no answer in time")
            except OSError as error:
                result = Result("closed", f"{type(error).__name__}: {error}")
            tally.seconds += time.perf_counter() - began
            tally.sent += 1
            tally.kinds[result.kind] += 1
            if result.problem:
                tally.found += 1
                self._found(door.name, number, number, result.problem, case)
            self._done(self.sent)

    async def _watch(self) -> None:
        """Good requests every so many inputs; a look at the processes every second."""
        warm, asked = False, 0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._look()
            if self.sent - asked >= self._every and not self._dead:
                asked = self.sent
                for problem in await self._scene.good():
                    self._found("all", 0, self.sent, problem)
                self.controls += 1
            if not warm and self.sent * 10 > sum(t.wanted for t in self.tallies.values()):
                warm = True
                self._scene.warmed()

    async def _look(self) -> None:
        """What the processes say; it is from an input since the last look, of some door."""
        now = {name: self._first + tally.sent for name, tally in self.tallies.items()}
        for problem in await asyncio.to_thread(self._scene.trouble):
            inputs = ", ".join(f"{name} {self._since[name]}-{at}" for name, at in now.items() if at)
            self._found("all", 0, self.sent, f"{problem}\n  after inputs {inputs}")
        self._dead = bool(self._scene.lost)
        self._since = now

    def _found(
        self, door: str, first: int, last: int, problem: str, case: Case | None = None
    ) -> None:
        if self._same(problem) > 2:
            return
        found = Finding(door=door, first=first, last=last, problem=problem, case=case)
        self.findings.append(found)
        if self._save is not None:
            self._save.mkdir(parents=True, exist_ok=True)
            name = f"{len(self.findings):03d}-{door}-{self._seed}-{first}.json"
            (self._save / name).write_bytes(msgspec.json.format(msgspec.json.encode(found)))

    def _same(self, problem: str) -> int:
        """How many findings end alike: one fault shows in a thousand inputs."""
        return sum(_gist(f.problem) == _gist(problem) for f in self.findings)


def _gist(problem: str) -> str:
    """The last line of a traceback, or the beginning of the problem; without numbers."""
    lines = [line for line in problem.split("\n  after inputs")[0].splitlines() if line.strip()]
    line = next((at for at in lines if "Error" in at and not at.startswith(" ")), lines[0])
    return "".join(ch for ch in line if not ch.isdigit())[:120]
