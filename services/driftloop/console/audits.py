"""Adds up what became of every row, one model after the other, in a small share of the time."""

import logging
import time
from collections.abc import Callable, Collection, Iterable
from typing import Final

import msgspec

from driftloop.bus.audit.flight import at_rest
from driftloop.bus.audit.pace import Pace
from driftloop.bus.audit.report import Report, audit
from driftloop.bus.audit.sums import Sum
from driftloop.bus.bus import Bus
from driftloop.console.domain.cards import Audited
from driftloop.console.looks import rest
from driftloop.contracts.errors import DriftloopError
from driftloop.runtime import metrics
from driftloop.runtime.memory import give_back

log = logging.getLogger(__name__)

SHARE: Final = 0.1
"""Share of the time that counting takes, at most, while a model is read."""
AGAIN_SECONDS: Final = 30.0
"""When a model is counted again of which something was on its way."""
OLD_SECONDS: Final = 60.0
"""Sums that somebody looks at are added up again when they are so old, and rows came since."""
TIMES: Final = 2.0
"""So many times as long as a count took it is not old yet."""
LOOK_SECONDS: Final = 1.0
LONG_SECONDS: Final = 2.0
"""A count that took so long has taken memory that is worth giving back."""
_COUNTED: Final = metrics.counter(
    "console_audits", "Times that a model's rows were added up, by what came of it", ["result"]
)


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """The newest count of a model that could be told: what the card says, and its sums.

    `since` is where the window begins, "" for all there ever was. `stood` is where the model stood
    when the count began, which took `seconds`.
    """

    card: Audited
    sums: list[Sum]
    since: str
    stood: object
    seconds: float


class Audits:
    """The newest count of each model; every one is counted again after `seconds`, and sooner if
    somebody looks at it and rows came since, which `stands` tells: it is another value then.

    Only what was stored in the newest `hours` is counted. A count that does not close while
    something of the model is on its way says nothing: what was known before stays.
    """

    def __init__(
        self,
        bus: Bus,
        seconds: float,
        hours: float,
        stands: Callable[[str], object],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.found: dict[str, Audit] = {}
        self._bus = bus
        self._stands = stands
        self._seconds = seconds
        self._hours = hours
        self._clock = clock
        self._due: dict[str, float] = {}

    def seen(self, models: Iterable[str]) -> None:
        """Somebody looks at the sums of these models: those that are old are soon added up again,
        in the order in which they were asked for.
        """
        now = self._clock()
        for model in models:
            known = self.found.get(model)
            if known is None or self._due.get(model, 0.0) <= now + AGAIN_SECONDS:
                continue  # it is being counted, or will be
            old = now - known.card.at >= max(OLD_SECONDS, TIMES * known.seconds)
            if old and self._stands(model) != known.stood:
                self._due[model] = now

    async def run(
        self, models: Callable[[], Collection[str]], heard: Callable[[str, Audited], None]
    ) -> None:
        """Count until the service stops; `heard` is told what a card says."""
        if not self._seconds:
            await self._bus.stopping.wait()
        while not self._bus.stopping.is_set():
            model, began = self._next(models()), time.monotonic()
            if model is not None:
                try:
                    await self._one(model, heard)
                except DriftloopError as error:
                    _COUNTED.labels("failed").inc()
                    log.debug("audit of %s: %s", model, error)
            took = time.monotonic() - began
            if took >= LONG_SECONDS:
                give_back()  # each id that is counted is held for that time
            await rest(self._bus, took if model is not None else LOOK_SECONDS)

    def _next(self, models: Collection[str]) -> str | None:
        """The model that is due for longest; new ones first."""
        for gone in self._due.keys() - set(models):
            self._due.pop(gone)
            self.found.pop(gone, None)
        now = self._clock()
        due = [name for name in models if self._due.get(name, 0.0) <= now]
        return min(due, key=lambda name: (self._due.get(name, 0.0), name), default=None)

    async def _one(self, model: str, heard: Callable[[str, Audited], None]) -> None:
        now = self._clock()
        self._due[model] = now + min(self._seconds, AGAIN_SECONDS)
        since = now - self._hours * 3_600 if self._hours else 0.0
        stood = self._stands(model)
        before = await at_rest(self._bus, model)
        report = await audit(self._bus, [model], since, pace=Pace(SHARE), drops=False)
        if not report.closes and (before is None or before != await at_rest(self._bus, model)):
            _COUNTED.labels("unsettled").inc()
            return
        end = self._clock()
        self._due[model] = end + self._seconds
        _COUNTED.labels("closes" if report.closes else "does not close").inc()
        card = audited(report, end)
        self.found[model] = Audit(
            card=card, sums=report.sums, since=report.since, stood=stood, seconds=end - now
        )
        heard(model, card)


def audited(report: Report, at: float) -> Audited:
    """What a card says of a count that ended at `at` (seconds since 1970)."""
    if report.closes:
        return Audited(state="closed", at=at)
    rows = max(max(one.missing + one.extra, abs(one.left - one.right)) for one in report.sums)
    return Audited(state="open", missing=rows, at=at)
