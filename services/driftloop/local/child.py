"""One service's process as its supervisor sees it."""

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psutil

from driftloop.runtime.serve import usage

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Child:
    """One replica's process, and how often it had to be started."""

    name: str
    """Of this replica, for example `inference-2`."""
    service: str
    port: int
    variables: Mapping[str, str] = field(default_factory=dict)
    """Settings of this replica alone."""
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    started: float = 0.0
    answered: float = 0.0
    """When it was last seen to live (monotonic clock)."""
    next_start: float = 0.0
    cpu_before: float = 0.0
    usage: tuple[int, float] = (0, 0.0)

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def measure(self) -> None:
        """Note resident bytes and CPU seconds, if it runs."""
        if self.process is not None and self.alive():
            with contextlib.suppress(psutil.Error):
                self.usage = usage(psutil.Process(self.process.pid))

    def terminate(self) -> None:
        """SIGTERM, if it runs."""
        if self.process is not None and self.alive():
            self.process.send_signal(signal.SIGTERM)

    def end_group(self) -> None:
        """SIGKILL to it and to the children it may have left, which share its session."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def wait(children: Sequence[Child], seconds: float) -> None:
    """Wait until all have ended, at most so long together."""
    deadline = time.monotonic() + seconds
    for child in children:
        if child.process is not None:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("%s did not stop in time", child.name)
