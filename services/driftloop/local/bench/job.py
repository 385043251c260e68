"""What a load client of ours is told, and what it says: one JSON document each way."""

import base64
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from driftloop.local.bench.samples import Counts, quantile

GRACE_SECONDS: Final = 30.0
_SIZE_DIGITS: Final = 10
DRAIN_SECONDS: Final = 5.0
"""How long a client waits for answers under way when its time is over; later ones are errors."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Load `address` for `seconds` with `in_flight` requests at a time.

    With `ask` above 0: send that many bodies once, one after the other, and say the answers.
    """

    address: str
    subject: str = ""
    headers: dict[str, str] = {}
    bodies: str
    in_flight: int
    seconds: float = 0.0
    rate: float = 0.0
    ask: int = 0

    def read(self) -> list[bytes]:
        """The bodies."""
        return read_bodies(Path(self.bodies))


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of a load, or answers (base64) to what was asked; `error` says why neither."""

    counts: Counts | None = None
    answers: list[str] = []
    error: str = ""


def run(module: str, job: Job) -> Counts:
    """Run a load client as a process; raises `RuntimeError` with what it said."""
    told = _run(module, job)
    if told.counts is None:
        raise RuntimeError(f"{module}: {told.error}")
    return told.counts


def ask(module: str, job: Job) -> list[bytes]:
    """The answers to the first bodies; raises `RuntimeError` with the server's error."""
    told = _run(module, job)
    if told.error:
        raise RuntimeError(told.error)
    return [base64.b64decode(answer) for answer in told.answers]


def _run(module: str, job: Job) -> Told:
    made = subprocess.run(
        [sys.executable, "-m", f"driftloop.local.bench.{module}"],
        check=False,
        input=msgspec.json.encode(job),
        capture_output=True,
        timeout=job.seconds + GRACE_SECONDS,
        start_new_session=True,
    )
    if made.returncode or not made.stdout:
        words = made.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return Told(error=" ".join(words) or f"ended with exit code {made.returncode}")
    return msgspec.json.decode(made.stdout, type=Told)


def write_bodies(path: Path, bodies: Sequence[bytes]) -> None:
    """Bodies of any bytes into a file: each after its length in ten decimal digits."""
    path.write_bytes(b"".join(b"%0*d%b" % (_SIZE_DIGITS, len(body), body) for body in bodies))


def read_bodies(path: Path) -> list[bytes]:
    """The bodies of a file made by `write_bodies`."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        start = at + _SIZE_DIGITS
        at = start + int(data[start - _SIZE_DIGITS : start])
        found.append(data[start:at])
    return found


def given() -> Job:
    """In the client: its job, from standard input."""
    return msgspec.json.decode(sys.stdin.buffer.read(), type=Job)


def say(told: Told) -> None:
    """In the client: the result, on standard output."""
    sys.stdout.buffer.write(msgspec.json.encode(told))


def answered(answers: Sequence[bytes]) -> Told:
    """In the client: the answers to what was asked."""
    return Told(answers=[base64.b64encode(answer).decode() for answer in answers])


class Stopwatch:
    """Time and CPU of a load, from its making to `counts`."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self._cpu = time.process_time()
        self._ended = (0.0, 0.0)

    def stop(self) -> None:
        """The time is over; what is answered later counts no more."""
        self._ended = (time.perf_counter(), time.process_time())

    def counts(self, latencies: Sequence[float], errors: int) -> Counts:
        """The counts of so many latencies (seconds), each of an answered request."""
        seconds = self._ended[0] - self.began
        ordered = sorted(latencies)
        return Counts(
            requests=len(ordered),
            errors=errors,
            seconds=seconds,
            p50_ms=1e3 * quantile(ordered, 0.5),
            p99_ms=1e3 * quantile(ordered, 0.99),
            client_cores=(self._ended[1] - self._cpu) / seconds,
        )
