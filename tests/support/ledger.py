"""What producers were told that the log has, against what the log and ClickHouse have, by event id.

`lost` counts ids that were acknowledged and are not where they have to be; `doubled` counts copies
beyond the first. Ids that were tried and never acknowledged may be there or not, but once at most.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx
import pyarrow as pa

from driftloop.bus.bus import Bus
from driftloop.client.client import Client
from driftloop.contracts import codec, subjects
from driftloop.contracts.errors import DriftloopError, Retry
from driftloop.contracts.state import ModelState
from driftloop.contracts.stats import JoinStats
from driftloop.contracts.subjects import CHECKS
from tests.support.flows import held
from tests.support.telemetry import ask

SETTLE_SECONDS = 60.0
MOST_IDS = 1_000_000
PART_IDS = 100_000


@dataclass
class Books:
    """What became of the rows and labels of one model."""

    lost: list[str] = field(default_factory=list)
    """Where it is missing, and the id."""
    doubled: list[str] = field(default_factory=list)
    """Where it is too often, and the id."""

    @property
    def counts(self) -> dict[str, int]:
        """As a line of the table of faults has them."""
        return {"lost": len(self.lost), "doubled": len(self.doubled)}

    def require(self) -> "Books":
        """Fail unless they close."""
        assert (self.lost[:5], self.doubled[:5]) == ([], []), (
            f"{len(self.lost)} lost, {len(self.doubled)} counted twice"
        )
        return self

    def has(self, where: str, found: Counter[str], wanted: Iterable[str]) -> None:
        """Compare the ids found at one place with those that must be there."""
        self.lost += [f"{where}: {name}" for name in wanted if not found[name]]
        self.doubled += [f"{where}: {name}" for name, times in found.items() if times > 1]


@dataclass
class Ledger:
    """What one model's producers sent, and what was acknowledged to them."""

    model: str
    tried: set[str] = field(default_factory=set)
    rows: set[str] = field(default_factory=set)
    """Ids of rows that were acknowledged."""
    labels: set[str] = field(default_factory=set)
    """Ids whose label was acknowledged."""
    gap: float = 0.0
    """Longest time between two acknowledgements, in seconds."""
    _last: float = 0.0

    def took(self, what: str, ids: Iterable[str]) -> None:
        """Note an acknowledgement."""
        now = time.monotonic()
        if self._last:
            self.gap = max(self.gap, now - self._last)
        self._last = now
        (self.rows if what == "rows" else self.labels).update(ids)

    def rest(self) -> None:
        """What comes next is not measured against what came last."""
        self._last = 0.0

    @property
    def size(self) -> int:
        """Rows and labels that were acknowledged."""
        return len(self.rows) + len(self.labels)

    async def send(self, client: Client, rows: pa.RecordBatch, labels: pa.RecordBatch) -> None:
        """Send a batch of rows, then its labels; the client repeats them until they are taken."""
        for what, batch in (("rows", rows), ("labels", labels)):
            ids = batch.column("event_id").to_pylist()
            self.tried.update(ids)
            sending = client.send_rows if what == "rows" else client.send_labels
            await sending(self.model, batch)
            self.took(what, ids)

    async def settled(self, bus: Bus, seconds: float = SETTLE_SECONDS) -> Books:
        """The books in ClickHouse and the log, as soon as they close; as they are after so long."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                at_rest = await self._at_rest(bus)
                books = await self.books(bus) if at_rest else Books(lost=["not at rest"])
                if not books.lost or time.monotonic() > deadline:
                    return books
            except Retry:  # telemetry is away or catches up
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.2)

    async def _at_rest(self, bus: Bus) -> bool:
        """Whether all that is in the log was worked on, joined and inserted."""
        for durable in (*CHECKS.values(), "inference-scored", "inference-backlog"):
            if await bus.log.lag("ROWS", durable):
                return False
        scored, labels = await bus.log.last_seq("SCORED"), await bus.log.last_seq("LABELS")
        last = await bus.log.last("STATS", subjects.stats(JoinStats.kind, self.model))
        join = codec.decode_stat(last.payload) if last is not None else None
        if not isinstance(join, JoinStats) or join.scored_seq < scored:
            return False
        if join.labels_seq < labels:
            return False
        for stream in ("ROWS", "LABELS", "SCORED", "OUTCOMES", "DEAD"):
            if await bus.log.lag(stream, f"telemetry-{stream.lower()}"):
                return False
        return True

    async def books(self, bus: Bus) -> Books:
        """The books now: tables by `FINAL`, outcomes by table and log."""
        books = Books()
        valid = await in_table(bus, "rows_valid", self.model)
        refused = await in_table(bus, "quarantine", self.model)
        books.has("checked", valid + refused, self.rows)
        checked = {name for name in self.rows if valid[name]}
        books.has("scored", await in_table(bus, "scored", self.model), checked)
        given_up = await in_table(bus, "unmatched", self.model)
        labelled = {name for name in self.labels if valid[name]}
        outcomes = await in_table(bus, "outcomes", self.model)
        # A label may be an outcome, and its second copy, sent later, is then known and left out.
        books.has("joined", outcomes, labelled)
        books.lost += [f"joined: {n} was given up" for n in labelled & set(given_up)]
        books.has("given up", given_up, self.labels - labelled)
        logged = await in_log(bus, "OUTCOMES", subjects.outcomes(self.model))
        books.has("outcomes of the log", logged, labelled)
        return books


async def in_table(bus: Bus, table: str, model: str) -> Counter[str]:
    """How often `FINAL` shows each event id of a model; asked for in parts that a message holds."""
    where = f"FROM {table} FINAL WHERE model = '{model}'"
    ((count,),) = [list(row.values()) for row in await ask(bus, f"SELECT count() AS n {where}")]
    parts = 1 + int(count) // PART_IDS
    found: Counter[str] = Counter()
    for part in range(parts):
        sql = (
            f"SELECT event_id, count() AS n {where}"
            f" AND cityHash64(event_id) % {parts} = {part} GROUP BY event_id"
        )
        found.update({row["event_id"]: int(row["n"]) for row in await ask(bus, sql, MOST_IDS)})
    return found


async def in_log(bus: Bus, stream: str, subject: str) -> Counter[str]:
    """How often each event id is in the log."""
    found: Counter[str] = Counter()
    for message in await held(bus, stream, subject):
        found.update(message.batch().column("event_id").to_pylist())
    return found


def compared(found: Counter[str], wanted: Iterable[str]) -> Books:
    """The books of one place alone."""
    books = Books()
    books.has("log", found, wanted)
    return books


async def one_champion(bus: Bus, model: str) -> int:
    """The champion of the registry's state, which must be the only one."""
    state = (await bus.models.read(model)).value or ModelState(model=model)
    champions = [v for v, version in state.versions.items() if version.stage == "champion"]
    assert champions == [state.champion], state
    return int(state.champion)


async def runs_end(bus: Bus, model: str) -> Sequence[str]:
    """Verdict and reason of each run; every run but one in progress must have both, once."""
    said = [m.event() for m in await held(bus, "EVENTS", subjects.event(model, ">"))]
    asked = Counter(getattr(e, "run", "") for e in said if e.kind == "retrain.requested")
    ended = Counter(getattr(e, "run", "") for e in said if e.kind == "run.finished")
    state = (await bus.models.read(model)).value
    assert state is not None
    in_progress = {state.run.id} if state.run else set()
    assert set(asked) - set(ended) <= in_progress
    assert set(asked.values()) | set(ended.values()) <= {1}
    told = [e for e in said if e.kind == "run.finished"]
    assert all(getattr(e, "verdict", "") and getattr(e, "reason", "") for e in told)
    return [f"{getattr(e, 'verdict', '')}: {getattr(e, 'reason', '')}" for e in told]


class Asking:
    """Asks for predictions over and over; which versions answered, how fast, and what failed."""

    def __init__(self, ask_once: Callable[[], Awaitable[int]]) -> None:
        self._ask_once = ask_once
        self.versions: Counter[int] = Counter()
        self.seconds: list[float] = []
        self.failed: list[str] = []

    @classmethod
    def over_nats(cls, client: Client, model: str, row: Mapping[str, object]) -> "Asking":
        """By the client, which asks again while nobody answers."""

        async def ask_once() -> int:
            return int((await client.predict(model, [row])).version or 0)

        return cls(ask_once)

    @classmethod
    def over_http(
        cls, http: httpx.AsyncClient, base: str, model: str, row: Mapping[str, object]
    ) -> "Asking":
        """From one process of inference; what is refused is not asked again."""

        async def ask_once() -> int:
            answer = await http.post(f"{base}/v1/models/{model}/predict", json={"rows": [row]})
            if answer.status_code != 200:
                raise Retry(f"{answer.status_code}: {answer.text[:200]}")
            return int(answer.json()["version"])

        return cls(ask_once)

    async def run(self, stop: asyncio.Event, pause: float = 0.01) -> None:
        """Until `stop` is set."""
        while not stop.is_set():
            began = time.perf_counter()
            try:
                version = await self._ask_once()
            except (DriftloopError, httpx.HTTPError) as error:
                self.failed.append(f"{type(error).__name__}: {error}")
            else:
                self.versions[version] += 1
                self.seconds.append(time.perf_counter() - began)
            await asyncio.sleep(pause)

    def p99(self, first: int = 0) -> float:
        """99th percentile of the seconds of the answers from the `first` on."""
        found = sorted(self.seconds[first:])
        return found[int(len(found) * 0.99)] if found else float("nan")
