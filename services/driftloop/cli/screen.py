"""What `top` shows: folded from the console's stream, drawn for a terminal of any size."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from driftloop.cli.output import age, since
from driftloop.console.api.shapes import Card, Cards, Hello, Outage, Service
from driftloop.contracts.facts import Fact

FACTS: Final = 200
SPARKS: Final = "▁▂▃▄▅▆▇█"
NARROW: Final = 100
"""Columns below which some numbers are left out."""
TONES: Final = {"quiet": "", "warn": "yellow", "bad": "red"}
DRIFT: Final = {"calm": "", "suspected": "yellow", "alarm": "red"}
LEAST_EVENTS: Final = 4
"""Lines kept for events, however many models there are."""
_HEADS: Final = 5
"""Lines of headings and gaps."""

T = TypeVar("T")


class Screen:
    """The newest of everything, as the stream says it."""

    def __init__(self, console: str) -> None:
        self._console = console
        self._cards: dict[str, Card] = {}
        self._services: list[Service] = []
        self._outages: list[Outage] = []
        self._facts: deque[Fact] = deque(maxlen=FACTS)
        self._hello: Hello | None = None
        self._whole = False
        self.lost = ""
        """Since when the console is gone and why; empty while it answers."""
        self.missed = 0

    @property
    def complete(self) -> bool:
        """Whether models and services have come."""
        return self._hello is not None and not self._whole and bool(self._services)

    def remember(self, newest: Sequence[Fact]) -> None:
        """Events of before the stream began, newest first."""
        self._facts.extendleft(newest[: FACTS - len(self._facts)])

    def fold(self, kind: str, data: bytes) -> None:
        """Take one message of the stream; kinds we do not know change nothing."""
        match kind:
            case "hello":
                self._hello, self._whole, self.lost = _read(data, Hello), True, ""
            case "cards":
                told = _read(data, Cards)
                self._cards = {} if self._whole else self._cards
                self._whole = False
                self._cards |= {card.name: card for card in told.cards}
                for name in told.gone:
                    self._cards.pop(name, None)
            case "services":
                self._services = _read(data, list[Service])
            case "outages":
                self._outages = _read(data, list[Outage])
            case "said":
                self._facts.extend(_read(data, list[Fact]))
            case "missed":
                self.missed += int(msgspec.json.decode(data)["count"])

    def draw(self, width: int, height: int) -> RenderableType:
        """All of it in at most `height` lines."""
        head, services = self._head(width), self._of_services(width)
        troubles = list(self._gone())
        room = height - _HEADS - len(troubles) - services.row_count
        least = min(LEAST_EVENTS, room // 2)
        events = min(len(self._facts), max(least, room - max(1, len(self._cards))))
        models = max(1, room - events)
        return Group(
            head,
            *troubles,
            self._of_models(width, models),
            Text(),
            services,
            Text(),
            self._of_facts(events),
        )

    def _head(self, width: int) -> Text:
        bad = sum(card.trouble > 0 for card in self._cards.values())
        down = sum(not one.ready for one in self._services)
        models, services = len(self._cards), len(self._services)
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("driftloop ", "bold")
        text.append(f"{models:,} {'model' if models == 1 else 'models'}, ")
        text.append(f"{bad:,} in trouble" if bad else "all well", "red" if bad else "green")
        text.append(f"; {services} services, ")
        text.append(f"{down} not ready" if down else "all ready", "red" if down else "green")
        if self.missed:
            text.append(f"; {self.missed:,} events missed", "yellow")
        end = "  q quits" if width < NARROW else f"  {self._console}  q quits"
        text.append(end, "dim")
        return text

    def _gone(self) -> Iterator[Text]:
        """What does not answer."""
        if self.lost:
            yield Text(self.lost, "bold red", no_wrap=True, overflow="ellipsis")
        for outage in self._outages:
            told = f"{outage.what}: {outage.text}"
            yield Text(told, "bold red", no_wrap=True, overflow="ellipsis")

    def _of_models(self, width: int, most: int) -> Table:
        wide = width >= NARROW
        table = _table()
        table.add_column("model", no_wrap=True, max_width=24 if wide else 16)
        table.add_column("live", justify="right", no_wrap=True)
        table.add_column("rows/s", justify="right", no_wrap=True)
        if wide:
            table.add_column("p99 ms", justify="right", no_wrap=True)
        table.add_column("loss", justify="right", no_wrap=True)
        if wide:
            table.add_column("trend", no_wrap=True)
        table.add_column("drift", no_wrap=True)
        table.add_column("run", no_wrap=True, max_width=20 if wide else 10)
        table.add_column("trouble", no_wrap=True, ratio=1)
        ordered = sorted(self._cards.values(), key=lambda card: (-card.trouble, card.name))
        hidden = len(ordered) - most
        for card in ordered[: most - 1] if hidden > 0 else ordered:
            table.add_row(*_cells(card, wide=wide))
        if hidden > 0:
            table.add_row(Text(f"and {hidden + 1:,} more", "dim"))
        elif not ordered:
            table.add_row(Text("no model yet" if self.complete else "waiting ...", "dim"))
        return table

    def _of_services(self, width: int) -> Table:
        """Services in as many columns as fit, those that are not ready with the reason."""
        wide = width >= NARROW
        columns = max(1, min(len(self._services) or 1, width // (27 if wide else 20)))
        table = Table.grid(padding=(0, 2))
        cells = [_service(one, wide=wide) for one in self._services]
        for at in range(0, len(cells), columns):
            table.add_row(*cells[at : at + columns])
        return table

    def _of_facts(self, most: int) -> Table:
        table = _table()
        table.add_column("time", style="dim", no_wrap=True)
        table.add_column("model", no_wrap=True, max_width=16)
        table.add_column("event", no_wrap=True)
        table.add_column("", no_wrap=True, ratio=1)
        for told in list(self._facts)[::-1][:most]:
            kind = Text(told.kind, STYLES.get(told.kind, "bold"))
            table.add_row(Text(told.time[11:19]), Text(told.model), kind, Text(told.text))
        return table


STYLES: Final = {
    "drift.detected": "yellow",
    "labels.shifted": "yellow",
    "performance.degraded": "yellow",
    "training.failed": "red",
    "candidate.rejected": "red",
    "model.promoted": "bold green",
    "model.rolled_back": "bold magenta",
}


def _table() -> Table:
    return Table(box=None, pad_edge=False, header_style="dim", expand=True)


def _cells(card: Card, *, wide: bool) -> list[Text]:
    tone = TONES[card.tone]
    run = "paused" if card.paused else ""
    if card.run is not None:
        run = f"{card.run.stage} v{card.run.version}" if wide else card.run.stage
    cells = [
        Text(f"{'!' if tone else ' '} {card.name}", f"bold {tone}".strip()),
        Text(f"v{card.champion}" if card.champion else "none"),
        Text(_number(card.rate, 0)),
        Text(_number(card.p99_ms, 1)),
        Text(_number(card.loss, 4)),
        Text(sparks(card.loss_trend), "dim"),
        Text(card.drift, DRIFT[card.drift]),
        Text(run, "yellow" if card.paused and not card.run else ""),
        Text(card.trouble_text, tone),
    ]
    return cells if wide else [*cells[:3], cells[4], *cells[6:]]


def _service(one: Service, *, wide: bool) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append("ok " if one.ready else "NO ", "green" if one.ready else "bold red")
    text.append(one.name)
    if one.ready:
        up = f"  {age(since(one.started))}" if one.started and wide else ""
        text.append(f" {one.memory_mb:.0f} MB{up}", "dim")
    else:
        text.append(f"  {one.reason}", "red")
    return text


def sparks(values: list[float]) -> str:
    """A course of numbers as a line of bars, the lowest to the highest."""
    if not values:
        return ""
    low, span = min(values), max(values) - min(values)
    top = len(SPARKS) - 1
    return "".join(
        SPARKS[round((v - low) / span * top) if span else top // 2] for v in values[-16:]
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _read(data: bytes, kind: type[T]) -> T:
    return msgspec.json.decode(data, type=kind)
