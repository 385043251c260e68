"""Which lane the rows of each model take, and how far validation is behind in each.

In the live lane lie rows of models that are up to date, so that they never wait behind the flood of
another. A model that gets far ahead of validation goes to the backlog lane: its rows lie in the log
there, and are handled at full speed while the live lane has nothing to do, and slowly otherwise.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from typing import Final

from driftloop.bus.bus import Bus
from driftloop.bus.log import Reached
from driftloop.contracts.errors import Overloaded
from driftloop.contracts.subjects import BACKLOG, CHECKS, LANES, LIVE, Lane
from driftloop.runtime import metrics
from driftloop.runtime.pace import UNIT, Pace

log = logging.getLogger(__name__)

LAG: Final = metrics.gauge(
    "ingest_lag_messages", "Messages of rows that validation has not handled yet", ["lane"]
)
FLOODS: Final = metrics.counter(
    "ingest_floods", "Times a model left the live lane, because it was too far ahead", ["model"]
)
WAITED: Final = metrics.counter(
    "ingest_paced_seconds", "Seconds a flood was made to wait for the live lane", ["model"]
)

NAMES: Final[dict[Lane, str]] = {LIVE: "live", BACKLOG: "backlog"}
LOOK_SECONDS: Final = 0.01
"""How far validation is, is asked for at most so often."""
ANSWER_SECONDS: Final = 0.5
"""Rows wait for the answer, so it may not take longer."""
AWAY_SECONDS: Final = 1.0
"""After no answer came it is not asked for, for so long."""
STUCK_SECONDS: Final = 1.0
"""Acknowledgements may stand still so long: one message that has to wait holds the rest up."""
SETTLE_SECONDS: Final = 0.5
"""A model that leaves waits so long for its rows in the live lane: they keep their order."""
CALM_SECONDS: Final = 1.0
"""A model comes back after it has sent no more than its allowance for so long."""


MOST_PUBLISHED: Final = 16
"""Messages of one request published at once."""


class Front:
    """How far validation is in one lane.

    `handled` is the sequence of ROWS up to which it has looked at all rows of the lane, `behind`
    how many messages it has not.
    """

    def __init__(self, bus: Bus, lane: Lane) -> None:
        self.handled = 0
        self.behind = 0
        self.told = False
        """Whether the last look had an answer."""
        self._bus = bus
        self._lane = lane
        self._acknowledged = 0
        self._looked = -LOOK_SECONDS
        self._waits_since: float | None = None
        self._looking = asyncio.Lock()

    async def look(self) -> None:
        """Look again, unless that was done just now. Without an answer the last figures stand."""
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if now - self._looked < LOOK_SECONDS:
                return
            self._looked = now
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    reached = await self._reached()
            except Exception as error:  # the broker, or who leads the consumer, is away
                log.warning("lag of %s: %s", CHECKS[self._lane], str(error) or "no answer in time")
                self._looked = asyncio.get_running_loop().time() + AWAY_SECONDS
                self.told = False
            else:
                self._take(reached, now)
                self.told = True

    async def _reached(self) -> Reached:
        """Before validation has ever run, all rows of the lane are still to be handled."""
        log = self._bus.log
        reached = await log.reached("ROWS", CHECKS[self._lane])
        if reached.there:
            return reached
        return Reached(behind=await log.messages("ROWS", f"rows.*.received.{self._lane}"))

    def _take(self, reached: Reached, now: float) -> None:
        if reached.acknowledged != self._acknowledged or reached.acknowledged == reached.delivered:
            self._acknowledged, self._waits_since = reached.acknowledged, None
        elif self._waits_since is None:
            self._waits_since = now
        stuck = self._waits_since is not None and now - self._waits_since >= STUCK_SECONDS
        self.handled = max(self.handled, reached.delivered if stuck else reached.acknowledged)
        self.behind = reached.behind
        LAG.labels(NAMES[self._lane]).set(self.behind)


class Sender:
    """One model: its lane, and how many rows of it there validation has not handled yet."""

    def __init__(self) -> None:
        self.lane: Lane = LIVE
        self.ahead = 0
        self._messages: deque[tuple[int, int]] = deque()
        self._since = 0.0
        self._sent = 0

    def sent(self, rows: int, seq: int) -> None:
        """So many rows lie at a sequence of the log."""
        self._messages.append((seq, rows))
        self.ahead += rows

    def handled(self, seq: int) -> None:
        """Validation has handled everything up to a sequence."""
        while self._messages and self._messages[0][0] <= seq:
            self.ahead -= self._messages.popleft()[1]

    def calm(self, rows: int, allowance: int, now: float) -> bool:
        """Count rows; whether `CALM_SECONDS` have just passed with no more than the allowance."""
        passed = now - self._since >= CALM_SECONDS
        calm = passed and self._sent + rows <= allowance
        if passed:
            self._since, self._sent = now, 0
        self._sent += rows
        return calm


class Lanes:
    """The lanes of all models.

    `allowance` is how many rows ahead of validation a model may be in the live lane, `most` how
    many messages validation may be behind in a lane before more are refused. A model changes lanes
    when all its rows in the one it leaves are handled, so its rows keep their order.
    """

    def __init__(self, bus: Bus, allowance: int, most: int) -> None:
        self._bus = bus
        self._allowance = allowance
        self._most = most
        self._fronts: dict[Lane, Front] = {lane: Front(bus, lane) for lane in LANES}
        self._senders: dict[str, Sender] = {}
        self._pace = Pace()

    async def unchecked(self) -> int | None:
        """Messages of rows that validation has not handled, in all lanes; None: nobody tells."""
        fronts = self._fronts.values()
        for front in fronts:
            await front.look()
        return sum(front.behind for front in fronts) if all(f.told for f in fronts) else None

    def check(self, model: str) -> None:
        """Raise `Overloaded` when validation is too far behind to take more rows of a model."""
        sender = self._senders.get(model)
        lane = LIVE if sender is None else sender.lane
        behind = self._fronts[lane].behind
        if behind > self._most:
            where = "" if lane == LIVE else f" with {model} and other models that send as much"
            raise Overloaded(
                f"rows: validation is {behind} batches behind{where};"
                f" accepted: at most {self._most}, try again",
                delay=1.0,
            )

    async def choose(self, model: str, rows: int) -> Lane:
        """The lane for the next rows of a model."""
        sender = self._senders.setdefault(model, Sender())
        calm = sender.calm(rows, self._allowance, asyncio.get_running_loop().time())
        front = self._fronts[sender.lane]
        sender.handled(front.handled)
        if sender.lane == LIVE:
            if sender.ahead and sender.ahead + rows > self._allowance:
                await front.look()
                sender.handled(front.handled)
            if sender.ahead + rows > self._allowance and sender.lane == LIVE:
                await self._settled(sender, front)
                sender.lane = BACKLOG
                FLOODS.labels(model).inc()
        elif calm:
            await front.look()
            sender.handled(front.handled)
            if not sender.ahead:
                sender.lane = LIVE
        self._senders[model] = sender  # it may have been forgotten during a look
        return sender.lane

    async def _settled(self, sender: Sender, front: Front) -> None:
        """Wait until the rows of a model that is to leave are handled, if that is soon."""
        for _ in range(round(SETTLE_SECONDS / LOOK_SECONDS)):
            if not sender.ahead:
                return
            await asyncio.sleep(LOOK_SECONDS)
            await front.look()
            sender.handled(front.handled)

    def at_once(self, lane: Lane) -> int:
        """Messages that may be published at once: one of a flood while others send, so that all
        that handles them has pauses in between.
        """
        alone = lane == LIVE or self._pace.alone(asyncio.get_running_loop().time())
        return MOST_PUBLISHED if alone else 1

    async def sent(
        self,
        model: str,
        lane: Lane,
        sent: Sequence[tuple[int, int]],
        took: float,
        most: float,
    ) -> None:
        """Messages of a model, by their sequence in the log and their rows, took so many seconds.

        Waits in the backlog lane, where its messages hold up those of other models, for `most`
        seconds at most.
        """
        sender = self._senders.setdefault(model, Sender())
        for seq, rows in sent:
            sender.sent(rows, seq)
        now = asyncio.get_running_loop().time()
        if lane == LIVE:
            self._pace.live(took, now)
        elif wait := min(most, self._pace.flood(sum(max(UNIT, n) for _, n in sent), now)):
            WAITED.labels(model).inc(wait)
            await asyncio.sleep(wait)

    async def watch(self, seconds: float) -> None:
        """Look every now and then until the service stops, and forget who is up to date."""
        while not self._bus.stopping.is_set():
            for front in self._fronts.values():
                await front.look()
            for model, sender in list(self._senders.items()):
                sender.handled(self._fronts[sender.lane].handled)
                if sender.lane == LIVE and not sender.ahead:
                    del self._senders[model]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._bus.stopping.wait(), seconds)
