"""Pieces that several sections of a report use."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from driftloop.cli.report.html import Html, join, tag

T = TypeVar("T")


def section(title: str, *children: object) -> Html:
    """A section with its heading."""
    return tag("section", tag("h2", title), *children)


def paragraph(*children: object, kind: str | None = None) -> Html:
    """A paragraph."""
    return tag("p", *children, class_=kind)


def figure(chart: Html, caption: str, *key: Html) -> Html:
    """A chart with its key and what it shows."""
    legend = tag("ul", *key, class_="key") if key else Html()
    return tag("figure", chart, legend, tag("figcaption", caption))


def key(kind: str, text: str) -> Html:
    """An entry of a key: what a line or a bar stands for."""
    return tag("li", tag("i", class_=kind), text)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[str] = ()
) -> Html:
    """A table; the columns in `numbers` are on the right."""
    kinds = ["n" if name in numbers else None for name in columns]
    head = (tag("th", name, class_=its) for name, its in zip(columns, kinds, strict=True))
    body = (
        tag("tr", *(tag("td", cell, class_=its) for cell, its in zip(row, kinds, strict=True)))
        for row in rows
    )
    made = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body))
    return tag("div", made, class_="scroll")


def newest(items: Sequence[T], most: int, what: str) -> tuple[Sequence[T], Html]:
    """The last `most` items, and a note on how many are left out, if any are."""
    left = len(items) - most
    if left <= 0:
        return items, Html()
    return items[-most:], paragraph(
        f"The newest {most:,} {what}; {left:,} older ones.", kind="note"
    )


def label(text: str) -> Html:
    """The label of an alarm, a promotion or a roll-back, in its colour."""
    kind = {"A": "alarm", "P": "promoted", "R": "back"}[text[0]]
    return tag("span", text, class_=f"tag {kind}")


def code(text: str) -> Html:
    """A digest or an id."""
    return tag("code", text)


def time(text: str) -> Html:
    """What stays on one line."""
    return tag("span", text, class_="line")


def lines(*texts: object) -> Html:
    """Texts below each other."""
    return join(*(tag("div", text) for text in texts))
