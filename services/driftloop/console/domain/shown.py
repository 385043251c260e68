"""The cards as pages have them: each with the revision at which it changed last."""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

import msgspec

from driftloop.console.api.shapes.live import Card

AT_ONCE: Final = 500
"""Cards of one message: of a thousand that change each second a page is told in two."""
MOST_GONE: Final = 1_000
"""Names of models that are gone which are remembered, to tell pages that had them."""
_encode = msgspec.json.Encoder().encode


class Changed(NamedTuple):
    """Cards as JSON that changed, names of models that are gone, and the revision told up to."""

    cards: list[bytes]
    gone: list[str]
    revision: int


class Shown:
    """Cards by name; `revision` grows with each change."""

    def __init__(self) -> None:
        self.cards: dict[str, Card] = {}
        self.revision = 0
        self._raw: OrderedDict[str, tuple[int, bytes]] = OrderedDict()
        """What changed last is last."""
        self._gone: OrderedDict[str, int] = OrderedDict()

    def put(self, cards: Iterable[Card]) -> None:
        """Take cards as they are now; those that are as before change nothing."""
        for card in cards:
            raw = _encode(card)
            known = self._raw.get(card.name)
            if known is None or known[1] != raw:
                self.revision += 1
                self.cards[card.name], self._raw[card.name] = card, (self.revision, raw)
                self._raw.move_to_end(card.name)
                self._gone.pop(card.name, None)

    def remove(self, name: str) -> None:
        """There is no such model any more."""
        if self.cards.pop(name, None) is None:
            return
        del self._raw[name]
        self.revision += 1
        self._gone[name] = self.revision
        if len(self._gone) > MOST_GONE:
            self._gone.popitem(last=False)

    def since(self, revision: int, models: Collection[str] | None) -> Changed:
        """What of these models (None: all) changed after a revision; all there is after -1.

        Of more than `AT_ONCE` changes the oldest are told, and the others the next time.
        """
        found: list[tuple[int, bytes]] = []
        for name, (at, raw) in reversed(self._raw.items()):
            if at <= revision:
                break
            if models is None or name in models:
                found.append((at, raw))
        found.reverse()
        last = self.revision
        if revision >= 0 and len(found) > AT_ONCE:
            last = found[AT_ONCE - 1][0]
            del found[AT_ONCE:]
        gone = [
            name
            for name, at in self._gone.items()
            if 0 <= revision < at <= last and (models is None or name in models)
        ]
        return Changed([raw for _, raw in found], gone, last)
