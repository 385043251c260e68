"""The page about the `driftloop` command."""

from collections.abc import Iterator
from typing import Any, Final

import typer

from driftloop.cli.exits import MEANINGS
from driftloop.cli.main import make
from driftloop.cli.reference.source import cell, code, table

_SILENT: Final = ("None", "")


def page() -> Iterator[str]:
    """`cli.md`."""
    root = typer.main.get_command(make())
    yield from ("# The command line", str(root.help or ""), "")
    found = list(_commands(root, "driftloop"))
    rows = [
        (f"[{name}](#{name.replace(' ', '-')})", cell(_help(command))) for name, command in found
    ]
    yield from table(("command", "what it does"), rows)
    yield from ("", "## Exit codes", "")
    meanings = [(str(int(code_)), cell(text)) for code_, text in MEANINGS.items()]
    yield from table(("code", "meaning"), meanings)
    for name, command in found:
        yield from (
            "",
            f"## {name}",
            "",
            _help(command),
            "",
            "```",
            _usage(name, command),
            "```",
            "",
        )
        yield from _parameters(command)


def _commands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def _help(command: Any) -> str:
    return " ".join(str(command.help or "").split())


def _usage(name: str, command: Any) -> str:
    arguments = [_shown(p) for p in command.params if p.param_type_name == "argument"]
    options = ["[OPTIONS]"] if any(p.param_type_name == "option" for p in command.params) else []
    return " ".join([name, *options, *arguments])


def _shown(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _parameters(command: Any) -> list[str]:
    rows = []
    for known in command.params:
        if known.name == "help":
            continue
        option = known.param_type_name == "option"
        names = ", ".join(code(n) for n in (*known.opts, *known.secondary_opts))
        rows.append((names if option else code(_shown(known)), _default(known), cell(_told(known))))
    return table(("parameter", "default", "meaning"), rows) if rows else []


def _default(known: Any) -> str:
    shown = str(known.default)
    if known.required or shown in _SILENT or "UNSET" in shown.upper():
        return ""
    return code({"True": "yes", "False": "no"}.get(shown, shown))


def _told(known: Any) -> str:
    text = str(getattr(known, "help", "") or "")
    variable = getattr(known, "envvar", None)
    return f"{text} Environment: {code(str(variable))}." if variable else text
