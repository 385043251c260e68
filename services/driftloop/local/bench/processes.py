"""Processes of servers: started, paused, ended, and what they and all others used."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from driftloop.local.bench.samples import Usage
from driftloop.runtime.settings import environment_of_child

STOP_SECONDS: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)  # looked up before a fork, where little is safe to do


def start(
    command: Sequence[str], log: Path, settings: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process whose output goes to `log`; Ctrl-C at the terminal does not reach it."""
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            env=environment_of_child(settings or {}),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )


def _die_with_parent() -> None:
    """Linux: SIGKILL when the bench dies; a paused process would not hear a SIGTERM."""
    with contextlib.suppress(OSError, AttributeError):
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and after some seconds SIGKILL to it and what it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it; empty when it is gone."""
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def pause(pid: int, *, paused: bool) -> None:
    """SIGSTOP or SIGCONT to a process and all below it."""
    for process in family(pid):
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)


def resident(pid: int) -> int:
    """Resident bytes of a process and all below it."""
    found = 0
    for process in family(pid):
        with contextlib.suppress(psutil.Error):
            found += process.memory_info().rss
    return found


def last_words(log: Path) -> str:
    """The last lines of a log, in one."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return " | ".join(lines[-3:]) or "it said nothing"


class Meter:
    """Measures a server over a time: its CPU, and the CPU of all that is not the bench's.

    The bench's own are this process, what it started, and the server. `pid` 0 is a server whose
    processes are not known: then nothing can be told.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._began = time.perf_counter()
        self._server = self._cpu(pid)
        self._known = self._all_known()
        self._busy = _busy()

    def read(self) -> Usage:
        """What was used since this meter was made."""
        if not self._pid:
            return Usage()
        seconds = time.perf_counter() - self._began
        busy, known = _busy() - self._busy, self._all_known()
        ours = sum(cpu - self._known.get(key, 0.0) for key, cpu in known.items())
        return Usage(
            cpu_seconds=self._cpu(self._pid) - self._server,
            rss_bytes=resident(self._pid),
            other_cores=max(0.0, (busy - ours) / seconds),
        )

    def _cpu(self, pid: int) -> float:
        return sum(_of(process) for process in family(pid)) if pid else 0.0

    def _all_known(self) -> dict[tuple[int, float], float]:
        """CPU seconds of every process of ours; ended ones are in their parent's account."""
        mine = {(p.pid, p.create_time()): p for p in [*family(os.getpid()), *family(self._pid)]}
        found = {}
        for key, process in mine.items():
            with contextlib.suppress(psutil.Error):
                found[key] = _of(process)
        return found


def _of(process: psutil.Process) -> float:
    """CPU seconds of a process and of its ended children."""
    try:
        used = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(used.user + used.system + used.children_user + used.children_system)


def _busy() -> float:
    """CPU seconds of all processes of this machine, and those a hypervisor withheld.

    Interrupts are left out: those of a loopback load cannot be told from those of others.
    """
    used = psutil.cpu_times()
    return float(used.user + used.nice + used.system + getattr(used, "steal", 0.0))
