"""Runs the workloads: every repeat visits every server in turn, the others paused meanwhile."""

import contextlib
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from driftloop.contracts.errors import InvalidInput
from driftloop.local.bench import loadgrpc, ours, processes, wrk
from driftloop.local.bench.load import Load
from driftloop.local.bench.models import Fitted, fitted
from driftloop.local.bench.processes import Meter
from driftloop.local.bench.rig import KNOWN, UNREACHED, Rig, parsed, running, wait
from driftloop.local.bench.samples import Counts, Line, Sample, Usage, line, sample
from driftloop.local.bench.stress.results import StressResult
from driftloop.local.bench.stress.run import WITH_WRK, run_stress
from driftloop.local.bench.targets import Target
from driftloop.local.bench.workloads import Workload, chosen
from driftloop.local.nats import NatsServer

PAUSE_SECONDS: Final = 0.05
COLD_PAUSE_SECONDS: Final = 0.002
"""Between questions to a server that does not answer yet."""

Tell = Callable[[str], None]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the bench is told; times in seconds."""

    workloads: str = "w1"
    model: str = "logreg"
    seconds: float = 5.0
    warm: float = 1.0
    repeats: int = 5
    retries: int = 2
    """How often a run that other processes disturbed is done again, at most."""
    targets: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    baseline: str = ""
    swaps: int = 1_000
    """Changes of the champion in `swaps` and `swaps-cold`, in all visits together."""
    swap_rate: float = 17.0
    """Changes of the champion a second."""
    folder: Path = Path(".driftloop/bench")


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One workload: its table, the samples behind it, and problems of single servers."""

    workload: Workload
    baseline: str
    lines: list[Line]
    samples: dict[str, list[Sample]]
    problems: list[str]


def run_bench(options: Options, tell: Tell) -> list[Result | StressResult]:
    """Run all workloads; `tell` hears a line before each step.

    Raises `InvalidInput`, or `RuntimeError` where a server of ours or the load failed.
    """
    workloads, others = chosen(options.workloads), parsed(options.targets)
    names = (*KNOWN, *(one.name for one in others))
    for name in (*options.only, *filter(None, [options.baseline])):
        if name not in names:
            raise InvalidInput(f"server: {name!r} is not known; accepted: {', '.join(names)}")
    for workload in workloads if not options.only or "ours" in options.only else ():
        ours.require(workload)
    if any(one.kind == "wrk" or one.name in WITH_WRK for one in workloads):
        wrk.require()
    if any(one.kind == "grpc" for one in workloads):
        loadgrpc.require()
    with _interruptible(), tempfile.TemporaryDirectory(prefix="driftloop-bench-") as scratch:
        return _Bench(options, workloads, others, Path(scratch), tell).results()


class _Bench:
    """All workloads of a run, and what they share."""

    def __init__(
        self,
        options: Options,
        workloads: list[Workload],
        others: list[Target],
        folder: Path,
        tell: Tell,
    ) -> None:
        self._options = options
        self._workloads = workloads
        self._others = others
        self._folder = folder
        self._tell = tell

    def results(self) -> list[Result | StressResult]:
        """Run them."""
        options = self._options
        compared = [one for one in self._workloads if one.kind != "stress"]
        names = list(dict.fromkeys(one.model or options.model for one in compared))
        for name in names:
            self._tell(f"model {name}: fitting it, or taking it from {options.folder}")
        models = {name: fitted(name, options.folder) for name in names}
        nats = NatsServer(self._folder / "nats", port=0)
        try:
            if _needs_nats(compared, options.only):
                ours.serve(nats, list(models.values()))
            return [self._one(workload, models, nats) for workload in self._workloads]
        finally:
            for other in self._others:
                other.stop()
            nats.stop()

    def _one(
        self, workload: Workload, models: dict[str, Fitted], nats: NatsServer
    ) -> Result | StressResult:
        name = workload.model or self._options.model
        if workload.kind == "stress":
            return run_stress(workload, name, self._options.folder, self._options, self._tell)
        rig = Rig(models[name], nats, self._folder)
        return _Run(self._options, workload, models[name], rig, self._tell).result(self._others)


def _needs_nats(workloads: list[Workload], only: tuple[str, ...]) -> bool:
    return (bool(workloads) and (not only or "ours" in only)) or any(
        one.kind == "nats" for one in workloads
    )


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the bench as Ctrl-C does: with everything it started, and nobody left paused.

    So does SIGINT where a shell that started it in the background has it ignored.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {kind: signal.signal(kind, interrupt) for kind in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


class _Run:
    """One workload over its servers."""

    def __init__(
        self, options: Options, workload: Workload, model: Fitted, rig: Rig, tell: Tell
    ) -> None:
        self._options = options
        self._workload = workload
        self._model = model
        self._rig = rig
        self._tell = tell
        self._samples: dict[str, list[Sample]] = {}
        self._verified: dict[str, str] = {}
        self._problems: list[str] = []
        self._answered = 0.0

    def result(self, others: list[Target]) -> Result:
        """Start the servers, load each in turn, end them."""
        targets = self._rig.targets(self._workload, self._options.only, others)
        if not targets:
            what = f"server: none of {', '.join(self._options.only)} takes {self._workload.name}"
            raise InvalidInput(f"{what}; accepted: other servers, or another workload")
        self._samples = {target.name: [] for target in targets}
        self._verified = {t.name: "constant" if t.constant else "yes" for t in targets}
        with tempfile.TemporaryDirectory(prefix="driftloop-bench-") as folder:
            loads = [Load(self._workload, one, self._model, Path(folder)) for one in targets]
            if self._workload.kind == "cold":
                self._cold(loads)
            else:
                self._loaded(loads)
        return self._summary(targets)

    def _loaded(self, loads: list[Load]) -> None:
        self._say("starting " + ", ".join(load.target.name for load in loads))
        with running([load.target for load in loads]):
            there = [load for load in loads if self._answers(load)]
            for load in there:
                load.target.pause(paused=True)
            for repeat in range(self._options.repeats):
                for load in there:
                    self._say(f"repeat {repeat + 1} of {self._options.repeats}, {load.target.name}")
                    load.target.pause(paused=False)
                    self._samples[load.target.name].append(self._visit(load))
                    load.target.pause(paused=True)

    def _visit(self, load: Load) -> Sample:
        """Verify, warm up, measure; again if others took the CPU, and the quietest run counts."""
        if not self._answers(load):
            return Sample()
        found: list[tuple[Counts, Usage]] = []
        try:
            while not found or (found[-1][1].disturbed and len(found) <= self._options.retries):
                if self._options.warm:
                    load.run(self._options.warm)
                meter = Meter(load.target.pid)
                counts = load.run(self._options.seconds)
                found.append((counts, meter.read()))
        except RuntimeError as error:
            self._problem(f"{load.target.name}: {error}")
            return Sample()
        best = min(found, key=lambda one: one[1].other_cores or 0.0)
        return sample(*best, self._workload.rows)

    def _answers(self, load: Load, pause_seconds: float = PAUSE_SECONDS) -> bool:
        """Whether it answers, and rightly; if not, the table says so and why."""
        try:
            wait(load, pause_seconds)
            self._answered = time.perf_counter()
            why = load.verify()
        except UNREACHED as error:
            why = str(error)
        if why:
            self._verified[load.target.name] = "no"
            self._problem(why if why.startswith(load.target.name) else f"{load.target.name}: {why}")
        return not why

    def _cold(self, loads: list[Load]) -> None:
        for repeat in range(self._options.repeats):
            for load in loads:
                self._say(f"repeat {repeat + 1} of {self._options.repeats}, {load.target.name}")
                self._samples[load.target.name].append(self._started(load))

    def _started(self, load: Load) -> Sample:
        began = time.perf_counter()
        with running([load.target]):
            good = self._answers(load, COLD_PAUSE_SECONDS)
            seconds = self._answered - began
            rss = processes.resident(load.target.pid)
            return Sample(first_answer_s=seconds, rss_mb=rss / 2**20) if good else Sample()

    def _summary(self, targets: list[Target]) -> Result:
        names = [target.name for target in targets]
        wanted = self._options.baseline or self._workload.baseline
        baseline = wanted if wanted in names else names[-1]
        lines = [
            line(
                name,
                self._samples[name],
                self._samples[baseline],
                self._workload.compared,
                self._verified[name],
            )
            for name in names
        ]
        return Result(
            workload=self._workload,
            baseline=baseline,
            lines=lines,
            samples=self._samples,
            problems=self._problems,
        )

    def _problem(self, text: str) -> None:
        if text not in self._problems:
            self._problems.append(text)

    def _say(self, text: str) -> None:
        self._tell(f"{self._workload.name}: {text}")
