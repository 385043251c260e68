"""The page about the model spec."""

import sys
from collections.abc import Iterator

import msgspec

from driftloop.cli.reference.source import Field, cell, code, fields, summary, table, value
from driftloop.contracts.names import MODEL_NAME_ACCEPTED
from driftloop.modelspec import durations
from driftloop.modelspec.spec import Spec, Table


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
    yield from _table([f for f in fields(Spec) if f.name not in _tables()])
    for name, (struct, many) in _tables().items():
        yield from ("", f"## {'[[' if many else '['}{name}{']]' if many else ']'}", "")
        yield from (summary(struct), "")
        yield from _table(fields(struct))


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


def _table(known: list[Field]) -> list[str]:
    rows = [
        (
            code(f.name),
            code(f.type),
            "required" if f.required else _default(f),
            cell(f.text),
        )
        for f in known
    ]
    return table(("field", "type", "default", "meaning"), rows)


def _default(field: Field) -> str:
    return "none" if field.default is None else code(value(field.default))
