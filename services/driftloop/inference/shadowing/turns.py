"""Whose turn it is: shadows run in the time that nobody else wants, where there is such time.

A process of low priority still makes others wait: at nice 10 it may go on for milliseconds before
they have their turn, and a busy one is moved from core to core, each time into somebody's way. So
where a machine has time to spare, a shadow is of the class SCHED_IDLE (sched(7)) and stays on one
core. Where there is none, it would never run there; so it begins at nice 10, with a tenth of a
service's time, and is put behind all others once a core has had time to spare for a while. A
process may leave its class for a lower one only (RLIMIT_NICE, setrlimit(2)); a shadow that starves
is therefore started again.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

import psutil

WINDOW: Final = 0.5
"""Seconds over which is looked at who had how much time."""
ENOUGH: Final = 0.25
"""A share of a core that is time to spare."""
QUIET: Final = 5.0
"""Seconds for which there has been enough of it before a shadow is put behind all others."""
OLD: Final = 60.0
"""Seconds after which what was seen before says nothing."""
STARVED: Final = 0.05
"""Of the time in which it wanted to run: who got less, for `WINDOWS`, starves."""
WINDOWS: Final = 2
REST: Final = 600.0
"""Seconds for which no shadow is put behind all others once one has starved there."""

Wants = Literal["nothing", "more", "anything"]


class Times(NamedTuple):
    """Of a core since the start of the machine, in one unit: idle, of processes with a nice value,
    and all.
    """

    idle: int
    nice: int
    all: int


class Spare:
    """What shares of each core have been idle and to spare, and since when that has been enough.

    Spare is the time of nobody, and what shadows themselves took of the time of processes with a
    nice value. The rest of that is of services that give way, but not to shadows.
    """

    def __init__(self) -> None:
        self._shares: dict[int, tuple[float, float]] = {}
        self._since: float | None = None
        self._last: tuple[float, Mapping[int, Times]] | None = None

    def due(self, now: float) -> bool:
        """Whether a window has passed since the last times."""
        return self._last is None or now - self._last[0] >= WINDOW

    def add(self, now: float, times: Mapping[int, Times], own: float) -> None:
        """The times at `now` (seconds), a window or more after the last ones; `own` is how long
        shadows have run since.
        """
        if self._last is None or now - self._last[0] > OLD:
            self._shares, self._since, self._last = {}, None, (now, times)
            return
        then, before = self._last
        self._last = now, times
        self._shares = {
            core: _shares(before[core], its, own / (now - then))
            for core, its in times.items()
            if core in before
        }
        if max((spare for _, spare in self._shares.values()), default=0.0) < ENOUGH:
            self._since = None
        elif self._since is None:
            self._since = then

    def core(self, now: float) -> int | None:
        """The core with the most time to spare, once there has been enough of it for a while."""
        if self._since is None or now - self._since < QUIET:
            return None
        return max(self._shares, key=lambda core: self._shares[core][1])

    def idle_core(self) -> int | None:
        """The core that was idle most; None if none was enough."""
        core = max(self._shares, key=lambda core: self._shares[core][0], default=None)
        return core if core is not None and self._shares[core][0] >= ENOUGH else None


class Turn:
    """Of one process: on which core it is behind all others, and whether it gets time there."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.core: int | None = None
        """None while it is not."""
        self.got = 0.0
        """Seconds it ran between the last two looks."""
        self._last: tuple[float, float, float] | None = None
        self._starving = 0

    def put_behind(self, core: int) -> None:
        """Let it run on this core, and only when nobody else wants to."""
        put_behind(self.pid, core)
        self.core, self._starving = core, 0

    def due(self, now: float) -> bool:
        """Whether a window has passed since it was looked at."""
        return self._last is None or now - self._last[0] >= WINDOW

    def wants(self, now: float, ran: float, waited: float, *, ready: bool) -> Wants:
        """By the seconds it has run and waited for a core so far, and whether it wants to run now.

        To be asked a window or more after the last time. What it waits for at the moment is counted
        when it ends; so who neither ran nor waited, and is `ready`, has waited all the time.
        """
        if self._last is None:
            self._last = now, ran, waited
        then, ran_then, waited_then = self._last
        self._last = now, ran, waited
        got, stood = ran - ran_then, waited - waited_then
        self.got = got
        if not got and not stood and ready:
            stood = now - then
        long = stood > ENOUGH * (now - then)
        self._starving = self._starving + 1 if long and got < STARVED * (got + stood) else 0
        if self._starving >= WINDOWS:
            return "anything"
        return "more" if long and stood > 2 * got else "nothing"


class Turns:
    """All shadows' processes of a service. On a machine that cannot tell they stay at nice 10.

    Reads small files of the kernel, so it is not for the event loop; threads may share it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare = Spare()
        self._own = 0.0
        self._not_before = 0.0
        self._impossible = False

    def starves(self, one: Turn) -> bool:
        """Look after a process; whether it is to be started again, since it gets no time.

        To be asked a few times a second.
        """
        with self._lock:
            now = time.monotonic()
            if self._impossible or not one.due(now):
                return False
            try:
                return self._look(one, now)
            except psutil.NoSuchProcess:
                return False  # it has ended, which others look after
            except (OSError, AttributeError, ValueError):  # no Linux, or it is forbidden
                self._impossible = True
                return False

    def _look(self, one: Turn, now: float) -> bool:
        ready = psutil.Process(one.pid).status() == psutil.STATUS_RUNNING
        wants = one.wants(now, *waits(one.pid), ready=ready)
        self._own += one.got
        if self._spare.due(now):
            self._spare.add(now, cores(), self._own)
            self._own = 0.0
        if one.core is None:
            core = self._spare.core(now)
            if core is not None and now >= self._not_before:
                one.put_behind(core)
        elif wants != "nothing":
            core = self._spare.idle_core()
            if core is not None and core != one.core:
                one.put_behind(core)
            elif wants == "anything":
                self._not_before = now + REST
                return True
        return False


def put_behind(pid: int, core: int) -> None:
    """Let a process run on this core, and only when nobody else wants to."""
    for thread in _threads(pid):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
            os.sched_setaffinity(thread, {core})


def cores() -> dict[int, Times]:
    """The times of the cores that this process may use (proc_stat(5))."""
    may = os.sched_getaffinity(0)
    made = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *numbers = line.split()
        if name[:3] == "cpu" and name[3:].isdigit() and int(name[3:]) in may:
            # user nice system idle iowait irq softirq steal; what follows is within the first two
            its = [int(number) for number in numbers[:8]]
            made[int(name[3:])] = Times(its[3] + its[4], its[1], sum(its))
    return made


def waits(pid: int) -> tuple[float, float]:
    """Seconds that the first thread of a process has run, and has waited for a core."""
    try:
        ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except (FileNotFoundError, ProcessLookupError) as error:
        if Path(f"/proc/{pid}").exists():
            raise
        raise psutil.NoSuchProcess(pid) from error
    return int(ran) / 1e9, int(waited) / 1e9


def _threads(pid: int) -> Iterator[int]:
    try:
        yield from [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]
    except FileNotFoundError as error:
        raise psutil.NoSuchProcess(pid) from error


def _shares(before: Times, after: Times, own: float) -> tuple[float, float]:
    """Of idle and spare time; shadows took `own` of all time, on whatever core."""
    whole = max(1, after.all - before.all)
    idle, nice = (after.idle - before.idle) / whole, (after.nice - before.nice) / whole
    return idle, idle + min(nice, own)
