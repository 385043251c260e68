"""All that is live, put together: what was heard, the states of models, and what is gone."""

from collections.abc import Iterable
from typing import Final

import msgspec

from driftloop.console.api.shapes.live import Card, Lag, Outage, Overview, Service, State
from driftloop.console.domain.board import Board
from driftloop.console.domain.cards import NEVER, NOBODY, About, Audited, card, ordered
from driftloop.console.domain.live import Live
from driftloop.console.domain.services import Outages, gone, service
from driftloop.console.domain.shown import Shown
from driftloop.console.domain.times import iso
from driftloop.contracts.state import ModelState

ALL_SECONDS: Final = 10.0
"""How often all cards are made anew: time alone changes some of them."""
Models = frozenset[str] | None


class _Cards(msgspec.Struct, frozen=True, kw_only=True):
    """`Cards` with cards that are JSON already."""

    time: str
    cards: list[msgspec.Raw]
    gone: list[str]


class Desk:
    """What pages are shown. `expected` services are shown, heard of or not; times are seconds since
    1970.
    """

    def __init__(self, board: Board, expected: Iterable[str], silence: float, began: float) -> None:
        self.board = board
        self.shown = Shown()
        self.states: dict[str, ModelState] = {}
        self.about: dict[str, About] = {}
        self.audited: dict[str, Audited] = {}
        self.lag: dict[str, list[Lag]] = {}
        self.asked: dict[str, str] = {}
        """What did not answer the console's own questions, and why."""
        self.nats = ""
        """Why NATS cannot be reached; empty if it can."""
        self.outages_revision = 0
        self._outages = Outages()
        self._expected = tuple(expected)
        self._silence = silence
        self._nats_since = began
        self._all_at = 0.0

    def state(self, model: str, state: ModelState | None) -> None:
        """Take the state of a model, or that it has none."""
        if state is None:
            self.states.pop(model, None)
        elif self.board.know(model) is not None:
            self.states[model] = state
        self.board.changed.add(model)

    def spec(self, model: str, about: About | None) -> None:
        """Take what a card says of a spec, or that the model is gone."""
        if about is None:
            for known in (self.about, self.states, self.audited):
                known.pop(model, None)
            self.board.forget(model)
            self.shown.remove(model)
        elif self.board.know(model) is not None:
            self.about[model] = about
            self.board.changed.add(model)

    def refresh(self, now: float) -> None:
        """Make the cards of which anything may have changed, and look at what is gone.

        Models without a spec have none, such as those that only a measurement names.
        """
        names = self.board.changed
        if now - self._all_at >= ALL_SECONDS or now < self._all_at:
            names, self._all_at = set(self.board.models), now
        self.board.changed = set()
        live = self.board.models
        known = [name for name in names if name in live and name in self.about]
        self.shown.put(self._card(name, live[name], now) for name in known)
        if self.nats:
            self._nats_since = now
        settled = now - self._nats_since > self._silence
        found = gone(self.services(now), self.nats, self.asked, settled=settled)
        self.outages_revision += self._outages.update(found, now)

    def services(self, now: float) -> list[Service]:
        """The services, those expected first."""
        others = [name for name in self.board.services if name not in self._expected]
        return [
            service(name, self.board.services.get(name), self.lag.get(name, []), now)
            for name in (*self._expected, *others)
        ]

    def outages(self, models: Models) -> list[Outage]:
        """What cannot be reached, for somebody who may know of these models (None: of all).

        What services say of themselves may name other models, and is left out.
        """
        found = list(self._outages.now.values())
        if models is None:
            return found
        return [msgspec.structs.replace(its, text=f"{its.what} is not well") for its in found]

    def cards_message(self, seen: int, models: Models, now: float) -> tuple[bytes, int]:
        """Message `cards` for a page that has seen a revision, and the one it has seen then; the
        message is empty if there is nothing new.
        """
        changed = self.shown.since(seen, models)
        if seen >= 0 and not changed.cards and not changed.gone:
            return b"", changed.revision
        raw = [msgspec.Raw(its) for its in changed.cards]
        made = msgspec.json.encode(_Cards(time=iso(now), cards=raw, gone=changed.gone))
        return made, changed.revision

    def overview(
        self, search: str, limit: int, offset: int, models: Models, now: float
    ) -> Overview:
        """A page of the cards, the worst first."""
        mine = self.cards(models)
        found = ordered(mine, search)
        troubled = sum(its.trouble > 0 for its in mine)
        return Overview(
            time=iso(now),
            total=len(found),
            cards=found[offset : offset + limit],
            well=len(mine) - troubled,
            troubled=troubled,
        )

    def cards(self, models: Models) -> list[Card]:
        """The cards of these models."""
        every = self.shown.cards.values()
        return [its for its in every if models is None or its.name in models]

    def whole(self, models: Models, version: str, now: float) -> State:
        """All that is live, in one document."""
        everything = models is None
        return State(
            time=iso(now),
            version=version,
            event_seq=self.board.feed.last_seq if everything else 0,
            dropped=self.board.dropped + self.board.feed.dropped if everything else 0,
            outages=self.outages(models),
            services=told(self.services(now), everything),
            cards=ordered(self.cards(models)),
        )

    def _card(self, name: str, live: Live, now: float) -> Card:
        state = self.states.get(name) or ModelState(model=name)
        about, audited = self.about.get(name, NOBODY), self.audited.get(name, NEVER)
        return card(live, state, about, audited, now)


def told(services: list[Service], everything: bool) -> list[Service]:
    """Services for somebody who may know of all models, or not.

    What services say of themselves may name other models, and is left out.
    """
    if everything:
        return services
    return [msgspec.structs.replace(its, reason="") for its in services]


def silence(stats_seconds: float) -> float:
    """Seconds after which a service that says nothing is taken for gone: four of its samples."""
    return max(8.0, 4.0 * stats_seconds)
