"""The page about the settings of the services."""

import importlib
from collections.abc import Iterator

from driftloop.cli.reference.source import Field, cell, code, fields, summary, table, value
from driftloop.runtime.settings import PORTS, PREFIX, SERVICES, Shared


def page() -> Iterator[str]:
    """`settings.md`."""
    yield "# Settings"
    yield (
        "Services read their settings from the environment. A shared setting of one service alone"
        f" has the service's name in front: `{PREFIX}DRIFT_LOG_LEVEL`."
        " A misspelt variable is an error."
    )
    yield from ("", "## Every service", "")
    yield from _table(PREFIX, fields(Shared))
    yield from ("", "Ports by default:", "")
    yield from table(("service", "port"), [(name, str(PORTS[name])) for name in sorted(PORTS)])
    for name in SERVICES:
        yield from _service(name)


def _service(name: str) -> Iterator[str]:
    kind = of(name)
    own = fields(kind, skip=Shared)
    yield from ("", f"## {name}", "", summary(kind), "")
    if own:
        yield from _table(f"{PREFIX}{name.upper()}_", own)
    else:
        yield "It has none of its own."


def of(service: str) -> type[Shared]:
    """The settings struct of a service."""
    module = importlib.import_module(f"driftloop.{service}.settings")
    return next(
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Shared) and kind is not Shared
    )


def _table(prefix: str, known: list[Field]) -> list[str]:
    rows = [
        (code(f"{prefix}{f.name.upper()}"), cell(f.type), code(value(f.default)), cell(f.text))
        for f in known
    ]
    return table(("variable", "type", "default", "meaning"), rows)
