"""Another client sends requests that are wrong in every way: what do the good ones feel of it?

A second client takes CPU time from everybody, whatever it sends; so beside nobody, it is compared
with one that sends as many good requests.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from driftloop.local.bench.bodies import HEAD_LENGTH, Requests
from driftloop.local.bench.job import write_bodies
from driftloop.local.bench.models import fitted
from driftloop.local.bench.stress import job
from driftloop.local.bench.stress.job import Job, Phase, Tally, whole
from driftloop.local.bench.stress.results import Condition, Visit, of_tally
from driftloop.local.bench.stress.scene import Scene, Times
from driftloop.local.bench.stress.stage import Stage, Watch, chosen_rows, rightly, together
from driftloop.local.bench.workloads import FEATURES, Workload

RATE: Final = 500.0
"""Wrong requests a second."""
CONNECTIONS: Final = 16
NESTED_BYTES: Final = 1 << 20


class Hostile(Scene):
    """Good requests alone, beside more good ones, and beside wrong ones."""

    conditions = (
        Condition("steady"),
        Condition("as many good", "steady"),
        Condition("hostile", "as many good"),
    )

    def __init__(self, workload: Workload, model: str, kept: Path, times: Times) -> None:
        super().__init__(workload, model, kept, times)
        self._model = fitted(model, kept)
        self._good: Job | None = None
        self._bad: Job | None = None

    def artifacts(self) -> list[bytes]:
        """One version."""
        return [self._model.path.read_bytes()]

    async def begin(self, stage: Stage) -> None:
        """Write the requests, good and bad."""
        workload, seconds = self.workload, self.times.seconds
        rows = chosen_rows([self._model], workload.bodies, workload.rows)
        self._good = msgspec.structs.replace(rightly(stage, *rows), seconds=seconds)
        await stage.warm(self._good, self.times.warm)
        bad = requests(f"{stage.host}:{stage.port}", stage.state.model)
        file = stage.folder / "bad.requests"
        write_bodies(file, list(bad.values()))
        self._bad = Job(
            host=stage.host,
            port=stage.port,
            requests=str(file),
            kinds=list(bad),
            connections=CONNECTIONS,
            phases=[Phase(seconds=seconds, rate=RATE)],
        )

    async def visit(self, stage: Stage, condition: str) -> Visit:
        """Load, alone or not."""
        assert self._good is not None
        assert self._bad is not None
        watch = Watch(stage)
        load = job.run("loadchecked", self._good, Tally)
        if condition == "steady":
            made = of_tally(await load)
        elif condition == "as many good":
            beside = msgspec.structs.replace(
                self._good, connections=CONNECTIONS, phases=self._bad.phases
            )
            good, _ = await together(load, job.run("loadopen", beside, list[Tally]))
            made = of_tally(good)
        else:
            good, (bad,) = await together(load, job.run("loadopen", self._bad, list[Tally]))
            made = of_tally(good)
            refused = {f"{kind}: {_told(bad.statuses[kind])}": n for kind, n in _sums(bad).items()}
            problems = [*made.problems, *([bad.problem] if bad.failed else [])]
            counts = made.counts | {"not refused": bad.failed, "unsent": bad.unsent} | refused
            made = msgspec.structs.replace(made, counts=counts, problems=problems)
        figures = made.figures | {"RSS MB": stage.resident(), "peak RSS MB": watch.peak}
        return await watch.end(msgspec.structs.replace(made, figures=figures))


def requests(address: str, model: str) -> dict[str, bytes]:
    """A whole HTTP request of each kind that may not be answered with 200."""
    path = f"/v2/models/{model}/infer"
    good = _infer()
    half = NESTED_BYTES // 2
    head = _infer(data=None, parameters={"binary_data_size": 4 * FEATURES})
    bad: dict[str, tuple[str, dict[str, str], bytes]] = {
        "too few numbers": (path, {}, _infer(data=[0.5] * (FEATURES - 1))),
        "too many features": (path, {}, _infer(shape=[1, FEATURES + 1])),
        "absurd shape": (path, {}, _infer(shape=[1 << 62, FEATURES])),
        "negative shape": (path, {}, _infer(shape=[-1, FEATURES])),
        "unknown datatype": (path, {}, _infer(datatype="FP7")),
        "text for numbers": (path, {}, _infer(data=["x"] * FEATURES)),
        "beyond every float": (path, {}, good.replace(b"0.5", b"1e999", 1)),
        "unknown input": (path, {}, _infer(name="nobody")),
        "unknown model": ("/v2/models/nobody/infer", {}, good),
        "unknown version": (f"/v2/models/{model}/versions/999/infer", {}, good),
        "no JSON": (path, {}, b"\xff\x00" * 64),
        "cut JSON": (path, {}, good[: len(good) // 2]),
        "cut binary": (path, {HEAD_LENGTH: str(len(head))}, head + bytes(7)),
        "1 MB nested": (path, {}, b'{"inputs":' + b"[" * half + b"]" * half + b"}"),
    }
    return {
        kind: whole(address, path, Requests(headers=headers, bodies=[body]))[0]
        for kind, (path, headers, body) in bad.items()
    }


def _infer(**changes: Any) -> bytes:
    tensor = {
        "name": "X",
        "shape": [1, FEATURES],
        "datatype": "FP32",
        "data": [0.5] * FEATURES,
        **changes,
    }
    return json.dumps({"inputs": [{k: v for k, v in tensor.items() if v is not None}]}).encode()


def _sums(tally: Tally) -> dict[str, int]:
    return {kind: sum(counts.values()) for kind, counts in tally.statuses.items()}


def _told(statuses: Mapping[int, int]) -> str:
    return ", ".join(str(status) for status in sorted(statuses))
