"""What the console looks up now and then: lag of consumers, latency, losses of before."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from driftloop.bus.audit.window import first_at
from driftloop.bus.bus import Bus
from driftloop.bus.rights import LOGS, PARTS
from driftloop.console.api.shapes.live import Lag
from driftloop.console.domain.board import Board, LineKey
from driftloop.console.domain.live import TREND_POINTS, TREND_ROWS
from driftloop.console.domain.services import TELEMETRY
from driftloop.console.queries.past import Past
from driftloop.contracts.errors import DriftloopError, Retry
from driftloop.contracts.sql import text
from driftloop.contracts.stats import Evidence

log = logging.getLogger(__name__)

NEWEST_SECONDS: Final = 300.0
"""Requests of which the latency is told."""
AGAIN_SECONDS: Final = 2.0
"""How soon telemetry is asked again while it does not answer."""
FOLLOWS: Final = "follow"
OWNERS: Final[Mapping[tuple[str, str], str]] = {
    (stream, durable): name for name, part in PARTS.items() for stream, durable in part.durables
}
"""Whose a shared consumer is."""


async def lags(bus: Bus) -> dict[str, list[Lag]]:
    """How far each consumer of the streams is behind, by service; of its followers the last one.

    Raises `Retry` when the broker does not answer.
    """
    found: dict[tuple[str, str, str], Lag] = {}
    for stream in LOGS:
        for its in await bus.log.consumers(stream):
            owner, name = _owner(stream, its.name)
            if not owner:
                continue
            lag = Lag(
                stream=stream,
                durable=name,
                pending=its.pending,
                unacknowledged=its.unacknowledged,
                redelivered=its.redelivered,
                delivered=its.delivered,
            )
            known = found.get((owner, stream, name))
            if known is None or known.pending < lag.pending:
                found[owner, stream, name] = lag
    by_service: dict[str, list[Lag]] = {}
    for (owner, _, _), lag in sorted(found.items()):
        by_service.setdefault(owner, []).append(lag)
    return by_service


def _owner(stream: str, consumer: str) -> tuple[str, str]:
    """Whose a consumer is and what it is called: followers are `follow-<service>-<random>`."""
    owner = OWNERS.get((stream, consumer), "")
    if owner:
        return owner, consumer
    kind, _, rest = consumer.partition("-")
    service = rest.rpartition("-")[0]
    return (service, FOLLOWS) if kind == FOLLOWS and service in PARTS else ("", "")


class Latencies:
    """The 99th percentile of the newest requests of each model, asked of telemetry.

    Rows answered on request say how long that took, so it is exact. They are told from older ones
    by their sequence, which is looked up once and then remembered.
    """

    def __init__(self, bus: Bus, past: Past) -> None:
        self._bus = bus
        self._past = past
        self._seqs: deque[tuple[float, int]] = deque()

    async def look(self, now: float) -> dict[str, float]:
        """Milliseconds by model at `now` (seconds since 1970). Raises `Retry`."""
        rows = await self._past.ask(
            "SELECT model, quantileTDigest(0.99)(latency) AS p99 FROM scored"
            f" WHERE seq >= {await self._first(now)} AND latency IS NOT NULL GROUP BY model",
            fresh=0.0,
        )
        return {row["model"]: float(f"{1_000.0 * row['p99']:.4g}") for row in rows}

    async def _first(self, now: float) -> int:
        """The first sequence of SCORED of the newest `NEWEST_SECONDS`, or somewhat before."""
        if not self._seqs:
            start = now - NEWEST_SECONDS
            self._seqs.append((start, await first_at(self._bus, "SCORED", start)))
        self._seqs.append((now, await self._bus.log.last_seq("SCORED") + 1))
        while len(self._seqs) > 1 and self._seqs[1][0] <= now - NEWEST_SECONDS:
            self._seqs.popleft()
        return self._seqs[0][1]


async def losses(past: Past) -> dict[str, list[float]]:
    """The course of the loss of each model as far as it was kept, the newest last. Raises `Retry`.

    Drift says each mean of the newest rows anew every few seconds: one of each `TREND_ROWS` stays.
    """
    rows = await past.ask(
        "SELECT model, arrayMap(x -> x.2, arraySort(groupArray((t, m)))) AS points FROM ("
        f"SELECT model, intDiv(rows, {TREND_ROWS}) AS b, argMax(mean, at) AS m, max(at) AS t"
        " FROM drift_scores WHERE detector = 'loss' GROUP BY model, b"
        f" ORDER BY t DESC LIMIT {TREND_POINTS} BY model) GROUP BY model"
    )
    return {row["model"]: list(row["points"]) for row in rows}


async def evidence(past: Past, key: LineKey) -> list[Evidence]:
    """All evidence on a shadow as it was kept, in its order. Raises `Retry`."""
    model, run, role, version = key
    rows = await past.ask(
        "SELECT champion, rows, mean, lower, upper, margin, champion_loss, shadow_loss,"
        " toUnixTimestamp64Milli(data_time) AS data_time"
        f" FROM evidence WHERE model = {text(model)} AND run = {text(run)}"
        f" AND role = {text(role)} AND version = {version} ORDER BY rows LIMIT 10000"
    )
    named = {"about": model, "run": run, "role": role, "version": version}
    return [Evidence(**{**named, **row}) for row in rows]


async def keep_asking(
    bus: Bus, past: Past, board: Board, asked: dict[str, str], seconds: float
) -> None:
    """Ask telemetry for what cards show, over and over; `asked` says why it does not answer."""
    latencies = Latencies(bus, past)
    seeded = False
    while not bus.stopping.is_set():
        pause = seconds
        try:
            if not seeded:
                seed(board, await losses(past))
                seeded = True
            found = await latencies.look(time.time())
            asked.pop(TELEMETRY, None)
        except Retry as error:
            pause = min(seconds, AGAIN_SECONDS)
            asked[TELEMETRY] = str(error)
        except DriftloopError as error:
            log.warning("latencies: %s", error)
        else:
            take(board, found)
        await rest(bus, pause)


def seed(board: Board, found: Mapping[str, list[float]]) -> None:
    """Put losses of before in front of those that were heard."""
    for model, points in found.items():
        live = board.know(model)
        if live is not None:
            live.loss.before(points)
            board.changed.add(model)


def take(board: Board, found: Mapping[str, float]) -> None:
    """Note the latency of each model; None for those of which nothing was asked."""
    for model, live in board.models.items():
        if live.p99_ms != found.get(model):
            live.p99_ms = found.get(model)
            board.changed.add(model)


async def keep_lags(
    bus: Bus, heard: Callable[[dict[str, list[Lag]]], None], seconds: float
) -> None:
    """Look at the consumers over and over."""
    while not bus.stopping.is_set():
        try:
            heard(await lags(bus))
        except Retry as error:
            log.debug("lags: %s", error)
        await rest(bus, seconds)


async def rest(bus: Bus, seconds: float) -> None:
    """Wait so long, or until the service stops."""
    try:
        await asyncio.wait_for(bus.stopping.wait(), seconds)
    except TimeoutError:
        return
