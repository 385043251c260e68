"""The page about the model spec."""

import builtins
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any, Final, get_args, get_origin, get_type_hints

import msgspec

from driftloop.cli.reference.source import Field, cell, code, fields, summary, table, value
from driftloop.contracts.names import MODEL_NAME_ACCEPTED
from driftloop.modelspec import durations
from driftloop.modelspec.spec import Spec, Table

_WORDS: Final = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def page() -> Iterator[str]:
    """`spec.md`."""
    yield "# The model spec"
    yield (
        "All a user writes about a model: one TOML file, or the same as a Python object."
        f" A name is {MODEL_NAME_ACCEPTED}. A duration is {durations.ACCEPTED}."
        " `driftloop spec check FILE` checks a spec as a whole, `driftloop spec infer DATA` writes"
        " a first one, `driftloop spec apply FILE` registers it. A misspelt field is an error."
    )
    yield from ("", "## Top level", "", summary(Spec), "")
    yield from _table(Spec, [f for f in fields(Spec) if f.name not in _tables()])
    for name, (struct, many) in _tables().items():
        yield from ("", f"## {'[[' if many else '['}{name}{']]' if many else ']'}", "")
        yield from (summary(struct), "")
        yield from _table(struct, fields(struct))


def _tables() -> dict[str, tuple[type[msgspec.Struct], bool]]:
    """The tables of the spec by field name, and whether there may be many."""
    known = {
        kind.__name__: kind
        for kind in vars(sys.modules[Spec.__module__]).values()
        if isinstance(kind, type) and issubclass(kind, Table) and kind not in (Table, Spec)
    }
    found: dict[str, tuple[type[msgspec.Struct], bool]] = {}
    for field in fields(Spec):
        inner = field.type.removeprefix("tuple[").removesuffix(", ...]")
        if inner in known:
            found[field.name] = (known[inner], inner != field.type)
    return found


def _table(struct: type[msgspec.Struct], known: list[Field]) -> list[str]:
    kinds = get_type_hints(struct)
    rows = [
        (
            code(f.name),
            words(kinds[f.name]),
            "required" if f.required else _default(f),
            cell(f.text),
        )
        for f in known
    ]
    return table(("field", "what it is", "default", "meaning"), rows)


def words(kind: Any) -> str:
    """A type as a person who writes TOML knows it."""
    inner = [part for part in get_args(kind) if part not in (type(None), ...)]
    match get_origin(kind):
        case typing.Literal:
            return " or ".join(code(str(value)) for value in inner)
        case typing.Union | types.UnionType:
            return " or ".join(dict.fromkeys(words(part) for part in inner))
        case builtins.tuple | builtins.list:
            return f"list of {words(inner[0])}"
        case builtins.dict:
            return "table"
    return _WORDS.get(kind) or str(kind.__name__)


def _default(field: Field) -> str:
    return "none" if field.default is None else code(value(field.default))
