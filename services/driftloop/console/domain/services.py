"""The services as they are now, and what of the system cannot be reached."""

from collections.abc import Iterable, Mapping
from typing import Final

from driftloop.console.api.shapes.live import Lag, Outage, Service
from driftloop.console.domain.instances import Heard, Instance
from driftloop.console.domain.times import iso

NATS: Final = "nats"
TELEMETRY: Final = "telemetry"
MOST_TEXT: Final = 500


def service(name: str, heard: Heard | None, lag: list[Lag], now: float) -> Service:
    """A service as its last words have it, not ready when they are old."""
    alive = heard.alive(now) if heard is not None else []
    if heard is None or not alive:
        return Service(name=name, reason="not heard of yet", lag=lag)
    newest = alive[-1]
    age = max(0.0, now - max(its.at for its in alive))
    silent = f"silent for {age:.0f} s" if age > heard.silence else ""
    return Service(
        name=name,
        ready=all(its.stats.ready for its in alive) and not silent,
        reason=silent or _reason(alive),
        version=newest.stats.version,
        pid=newest.stats.pid,
        instances=0 if silent else len(alive),
        started=iso(newest.stats.started),
        restarts=heard.restarts,
        memory_mb=round(sum(its.stats.rss_bytes for its in alive) / 1e6, 1),
        cpu=round(sum(its.cpu.per_second(now) for its in alive), 3),
        cpu_seconds=round(sum(its.stats.cpu_seconds for its in alive), 1),
        heard=round(age, 1),
        url=newest.stats.url,
        lag=lag,
    )


def _reason(alive: list[Instance]) -> str:
    """What is wrong with the first that is not well; else what the first has to note."""
    told = sorted(alive, key=lambda its: its.stats.ready)
    return next((its.stats.reason for its in told if its.stats.reason), "")[:MOST_TEXT]


class Outages:
    """What cannot be reached, each since when."""

    def __init__(self) -> None:
        self.now: dict[str, Outage] = {}

    def update(self, found: Mapping[str, str], now: float) -> bool:
        """Take what is gone at `now` (seconds since 1970), with why; whether that is news.

        An outage goes on while its text changes; numbers in it are no news.
        """
        made = {
            what: Outage(
                what=what,
                since=self.now[what].since if what in self.now else iso(now),
                text=text[:MOST_TEXT],
            )
            for what, text in found.items()
        }
        news = made.keys() != self.now.keys()
        self.now = made
        return news


def gone(
    services: Iterable[Service], nats: str, asked: Mapping[str, str], *, settled: bool
) -> dict[str, str]:
    """What is gone, and why: NATS alone if that is, for without it nobody is heard.

    `asked` is what did not answer the console's own questions, with why. Not `settled`: NATS is
    back, or the console there, for too short a time to miss anybody.
    """
    if nats:
        return {NATS: nats}
    silent = {
        its.name: f"{its.name}: {its.reason}"
        for its in services
        if not its.ready and (settled or its.instances)
    }
    return silent | dict(asked)
