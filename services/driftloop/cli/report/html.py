"""Writes HTML: text is always escaped, what is HTML already is of its own type."""

from html import escape
from typing import Final

VOID: Final = ("br", "hr", "meta", "col")


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(element: str, /, *children: object, **attributes: object) -> Html:
    """An element. `class_` is the attribute class, `_` in other names is a hyphen."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if element in VOID:
        return Html(f"<{element}{given}>")
    return Html(f"<{element}{given}>{join(*children)}</{element}>")


def join(*children: object) -> Html:
    """Children one after the other; plain text is escaped."""
    return Html("".join(c if isinstance(c, Html) else escape(_text(c)) for c in children))


def _text(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
