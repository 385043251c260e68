"""Runs a service that has a fault: it dies at a named point, is slow there, or its clock is off.

The fault is put in before the service's modules are used; all else is the service as it is.
"""

import asyncio
import functools
import importlib
import os
import runpy
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tests.support.flows import Process


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a process."""

    at: str = ""
    """An asynchronous function as `module:name` or `module:Class.name`, where it is looked up."""
    saying: str = ""
    """Only calls count whose arguments, as text, have this in them."""
    dies_after: int = 0
    """The process kills itself (SIGKILL) right after so many calls have returned; 0 is never."""
    seconds: float = 0.0
    """How much longer each call takes."""
    clock: float = 0.0
    """Seconds that the clock of the process is ahead."""


class Faulty(Process):
    """A service in a process of its own, with a fault."""

    def __init__(
        self,
        name: str,
        url: str,
        log: Path,
        fault: Fault,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, url, log, settings)
        told = msgspec.json.encode(fault).decode()
        self.command = [sys.executable, "-m", "tests.support.crashes", name, told]

    async def died(self, seconds: float = 30.0) -> None:
        """Wait until it has killed itself."""
        async with asyncio.timeout(seconds):
            while self.running:  # noqa: ASYNC110  # another process: there is nothing to wait on
                await asyncio.sleep(0.01)
        assert self.exit_code == -signal.SIGKILL


def _put_in(fault: Fault) -> None:
    module, _, path = fault.at.partition(":")
    *parents, name = path.split(".")
    holder = functools.reduce(getattr, parents, importlib.import_module(module))
    whole, calls = getattr(holder, name), 0

    @functools.wraps(whole)
    async def faulty(*args: Any, **named: Any) -> Any:
        nonlocal calls
        counts = fault.saying in repr((args, named))
        if counts and fault.seconds:
            await asyncio.sleep(fault.seconds)
        result = await whole(*args, **named)
        calls += counts
        if counts and calls == fault.dies_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(holder, name, faulty)


def _shift_clock(seconds: float) -> None:
    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() + seconds
    time.time_ns = lambda: now_ns() + int(seconds * 1e9)


def _main(service: str, told: str) -> None:
    fault = msgspec.json.decode(told, type=Fault)
    if fault.clock:
        _shift_clock(fault.clock)
    if fault.at:
        _put_in(fault)
    sys.argv = [f"driftloop.{service}"]
    runpy.run_module(f"driftloop.{service}", run_name="__main__")


if __name__ == "__main__":
    _main(*sys.argv[1:])
