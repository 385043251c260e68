"""What the load clients of the stress workloads are told, and what they say."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftloop.local.bench import wrk
from driftloop.local.bench.bodies import Requests
from driftloop.local.bench.job import read_bodies
from driftloop.local.bench.samples import Counts

GRACE_SECONDS: Final = 60.0
PACKAGE: Final = "driftloop.local.bench.stress"

Expected = NDArray[np.float32]
"""Right probabilities: (versions, requests, rows, classes); version 1 is the first."""


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """A time with so many requests a second, whatever the answers take."""

    seconds: float
    rate: float


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Send the whole HTTP requests of the file `requests` in turn over so many connections.

    `expected` is a file of `Expected` (npy); empty: answers are not looked into. `kinds` are names
    for the requests, by which statuses are counted; empty: all are one kind. The client of a window
    works for `seconds`, the one at a rate in `phases`.
    """

    host: str
    port: int
    requests: str
    expected: str = ""
    kinds: list[str] = []
    connections: int
    seconds: float = 0.0
    phases: list[Phase] = []

    def texts(self) -> list[bytes]:
        """The requests."""
        return read_bodies(Path(self.requests))


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """Requests due within a tenth of a second: p99 of the answered (ms), how many, and the rest."""

    p99_ms: float
    answered: int
    refused: int


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What a client counted in one phase.

    `answered` have status 200 and, where this is looked into, the numbers of the version they name;
    `wrong` have others. `failed` have no answer, or one that may not be given: `statuses` counts
    all of them by kind. `unsent` were due while every connection was busy.
    """

    seconds: float
    answered: int
    wrong: int
    failed: int
    unsent: int
    statuses: dict[str, dict[int, int]]
    versions: dict[int, int]
    p50_ms: float
    p99_ms: float
    refused_p99_ms: float
    client_cores: float
    slices: list[Slice] = []
    problem: str = ""

    def status(self, *wanted: int) -> int:
        """How many answers had one of these statuses."""
        return sum(kind.get(status, 0) for kind in self.statuses.values() for status in wanted)


def whole(address: str, path: str, requests: Requests) -> list[bytes]:
    """Requests as they go over the line, one a body."""
    fields = {"Host": address, **requests.headers}
    head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items())
    return [f"{head}Content-Length: {len(one)}\r\n\r\n".encode() + one for one in requests.bodies]


T = TypeVar("T")


async def run(module: str, job: Job, kind: type[T], begun: asyncio.Event | None = None) -> T:
    """Run a client as a process, ended with the caller; raises `RuntimeError` with what it said.

    `begun` is set when it sends its first requests.
    """
    command = [sys.executable, "-m", f"{PACKAGE}.{module}"]
    seconds = job.seconds + sum(phase.seconds for phase in job.phases)
    code, out, err = await _process(command, seconds, msgspec.json.encode(job), begun)
    if code or not out:
        words = err.decode(errors="replace").strip().splitlines()[-1:]
        raise RuntimeError(f"{module}: {' '.join(words) or f'ended with exit code {code}'}")
    return msgspec.json.decode(out, type=kind)


async def run_wrk(script: Path, url: str, connections: int, seconds: float) -> Counts:
    """Run wrk (in whole seconds, one at least); raises `RuntimeError` with what it said."""
    seconds = max(1, round(seconds))
    command = wrk.command(script, url, connections, seconds)
    before = wrk.children_cpu()
    _, out, err = await _process(command, seconds, b"", None)
    return wrk.counts(out.decode(), err.decode(), wrk.children_cpu() - before)


async def _process(
    command: Sequence[str], seconds: float, given: bytes, begun: asyncio.Event | None
) -> tuple[int, bytes, bytes]:
    pipe = subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    )
    try:
        async with asyncio.timeout(seconds + GRACE_SECONDS):
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(given)
            process.stdin.close()
            if begun is not None:
                await process.stdout.readline()
                begun.set()
            out, err = await process.communicate()
    except TimeoutError as error:
        raise RuntimeError(f"{command[0]}: no end after {seconds + GRACE_SECONDS:g} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            await process.wait()
    return process.returncode or 0, out, err


def given() -> Job:
    """In the client: its job, from standard input."""
    return msgspec.json.decode(sys.stdin.buffer.read(), type=Job)


def say_begun() -> None:
    """In the client: the load begins; an empty line before the result."""
    sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


def say(told: Any) -> None:
    """In the client: the result, on standard output."""
    sys.stdout.buffer.write(msgspec.json.encode(told))
