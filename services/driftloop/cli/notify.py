"""`notify`: check a rule file of notifications, and send a test message over its channels."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftloop.cli import output
from driftloop.cli.exits import Exit, Stop
from driftloop.cli.options import Json
from driftloop.contracts.errors import InvalidInput

if TYPE_CHECKING:
    from driftloop.console.domain.notify.rules import Rules
    from driftloop.console.notify.senders import Sender

commands = typer.Typer(
    no_args_is_help=True, help="Check rules of notifications, and try their channels."
)

RulesFile = Annotated[Path, typer.Argument(metavar="FILE", help="Rules as TOML.")]
Only = Annotated[
    list[str] | None,
    typer.Option("--channel", metavar="NAME", help="Only this channel; may be given again."),
]
ConsoleUrl = Annotated[
    str, typer.Option("--console-url", help="Address of the console, for the links.")
]


@commands.command()
def check(file: RulesFile, json: Json = False) -> None:
    """Check a rule file as a whole, and that the secrets it names are there."""
    from driftloop.console.domain.notify.letters import Places
    from driftloop.console.notify.senders import load, senders

    rules = load(str(file))
    senders(rules, Places())
    if json:
        output.as_json({"valid": True, "channels": _names(rules), "rules": rules.rules})
        return
    for rule in rules.rules:
        output.say(
            f"{rule.name}: {', '.join(rule.kinds)} of {', '.join(rule.models)}, {rule.severity}"
            f" or worse, to {', '.join(rule.channels)}"
        )
    output.say(
        f"{file}: {len(rules.channels)} channels, {len(rules.rules)} rules; accepted", "green"
    )


@commands.command("test")
def try_channels(
    file: RulesFile, channel: Only = None, console_url: ConsoleUrl = "", json: Json = False
) -> None:
    """Send a test message over the channels of a rule file; exit code 1 if one does not take it."""
    from driftloop.console.domain.notify.letters import Places
    from driftloop.console.notify.senders import load, senders

    rules = load(str(file))
    wanted = channel or _names(rules)
    for name in wanted:
        if name not in _names(rules):
            accepted = ", ".join(_names(rules))
            raise InvalidInput(f"--channel: {name!r} is no channel; accepted: {accepted}")
    made = senders(rules, Places(console=console_url))
    results = asyncio.run(_test([made[name] for name in wanted]))
    if json:
        output.as_json([{"channel": n, "error": why} for n, why in results.items()])
    else:
        for name, why in results.items():
            output.say(f"{name}: {why or 'taken'}", "red" if why else "green")
    if any(results.values()):
        raise Stop(Exit.NO)


def _names(rules: "Rules") -> list[str]:
    return [channel.name for channel in rules.channels]


async def _test(senders: "list[Sender]") -> dict[str, str]:
    """Why each channel did not take a test message; empty where it did."""
    from driftloop.console.domain.notify.book import Message
    from driftloop.console.domain.notify.notices import test as test_notice
    from driftloop.console.notify.senders import NotSent
    from driftloop.contracts.names import new_id

    results: dict[str, str] = {}
    for sender in senders:
        name = sender.channel.name
        notice = test_notice(name, time.time())
        try:
            await sender.send(Message(id=new_id(), rule="test", notices=(notice,)), {})
        except NotSent as error:
            results[name] = str(error)
        else:
            results[name] = ""
    return results
