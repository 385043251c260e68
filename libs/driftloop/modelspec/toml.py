"""Writes a spec as a TOML document; what is left out has its default."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from driftloop.modelspec.spec import Spec, Table

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+\Z")
WIDE: Final = 80
"""Characters of an array on one line; a longer one has a line for each value."""


def dumps(spec: Spec) -> str:
    """The spec as TOML, in the order of its fields; `modelspec.check.parse` reads it back.

    A parameter of the estimator that is `None` is a comment: TOML has no word for it.
    """
    plain: list[str] = []
    tables: list[str] = []
    for name, value in _changed(spec):
        if isinstance(value, Table):
            tables += _table(f"[{name}]", name, value)
        elif name in ("features", "slices"):
            tables += [line for row in value for line in _table(f"[[{name}]]", name, row)]
        else:
            plain.append(_line(name, value))
    return "\n".join([*plain, *tables, ""])


def text(value: str) -> str:
    """A TOML basic string."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def array(values: Sequence[str]) -> str:
    """An array of strings, over several lines where one is too long."""
    return _array([text(value) for value in values])


def diff(before: str, after: str, names: tuple[str, str] = ("registered", "new")) -> list[str]:
    """The lines of a unified diff of two documents; none where they are the same."""
    old, new = before.splitlines(), after.splitlines()
    return list(difflib.unified_diff(old, new, *names, lineterm=""))


def _changed(table: Table) -> Iterator[tuple[str, Any]]:
    """The fields without a default, and those that differ from it."""
    for field in msgspec.structs.fields(table):
        value, default = getattr(table, field.name), field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if value != default:
            yield field.name, value


def _table(head: str, path: str, table: Table) -> Iterator[str]:
    fields = dict(_changed(table))
    inner = {name: fields.pop(name) for name in list(fields) if isinstance(fields[name], dict)}
    if fields:
        yield from ("", head)
        yield from _lines(fields.items())
    for name, values in inner.items():
        yield from ("", f"[{path}.{name}]")
        yield from _lines(values.items())


def _lines(fields: Iterable[tuple[str, Any]]) -> Iterator[str]:
    for name, value in fields:
        if value is None:
            yield f"# {text(name)} is None, for which TOML has no word"
        else:
            yield _line(name, value)


def _line(name: str, value: Any) -> str:
    return f"{name if _BARE.match(name) else text(name)} = {_value(value)}"


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return text(value)
        case int() | float():
            return repr(value)
        case _:
            return _array([_value(one) for one in value])


def _array(values: list[str]) -> str:
    flat = f"[{', '.join(values)}]"
    if len(flat) <= WIDE:
        return flat
    return "[\n" + "".join(f"  {value},\n" for value in values) + "]"
