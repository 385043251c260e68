"""A service by the last words of its processes: replicas, and those that took another's place."""

from typing import Final

from driftloop.console.domain.rates import Rate
from driftloop.contracts.stats import ServiceStats

FORGET_SECONDS: Final = 60.0
MOST: Final = 32
"""Processes of a service that are kept."""


class Instance:
    """One process of a service by its last words, and how busy it is."""

    def __init__(self, at: float, stats: ServiceStats) -> None:
        self.cpu = Rate()
        self.replaced = False
        self.hear(at, stats)

    def hear(self, at: float, stats: ServiceStats) -> None:
        """Take newer words, said at `at` (seconds since 1970)."""
        self.at, self.stats = at, stats
        self.cpu.add(at, stats.cpu_seconds)


class Heard:
    """All processes of one service; `restarts` counts those that took the place of another.

    One that is silent for `silence` seconds is taken for gone.
    """

    def __init__(self, silence: float) -> None:
        self.silence = silence
        self.restarts = 0
        self.instances: dict[tuple[int, float], Instance] = {}

    def hear(self, at: float, stats: ServiceStats) -> bool:
        """Take the words of a process; False if another had to be forgotten for it."""
        key = (stats.pid, stats.started)
        known = self.instances.get(key)
        if known is None:
            self.instances[key] = Instance(at, stats)
        else:
            known.hear(at, stats)
        self._replace(at, stats.started)
        for old in [k for k, i in self.instances.items() if at - i.at > FORGET_SECONDS]:
            del self.instances[old]
        if len(self.instances) <= MOST:
            return True
        del self.instances[min(self.instances, key=lambda k: self.instances[k].at)]
        return False

    def alive(self, now: float) -> list[Instance]:
        """Those that are there, the newest last; of none the one heard last."""
        found = [i for i in self.instances.values() if now - i.at <= self.silence]
        found = found or sorted(self.instances.values(), key=lambda i: i.at)[-1:]
        return sorted(found, key=lambda i: i.stats.started)

    def _replace(self, at: float, started: float) -> None:
        """One that fell silent before another began has been replaced by it."""
        for instance in self.instances.values():
            silent = at - instance.at > self.silence and instance.at < started
            if silent and not instance.replaced:
                instance.replaced = True
                self.restarts += 1
