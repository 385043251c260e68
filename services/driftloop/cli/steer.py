"""`retrain`, `challenge`, `promote` and `rollback`: what an operator asks of the registry."""

import getpass
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from driftloop.cli import output
from driftloop.cli.options import DEFAULT_URL, Json, ModelName, Reason, Url
from driftloop.cli.session import visit
from driftloop.contracts import requests
from driftloop.contracts.names import new_id

if TYPE_CHECKING:
    from driftloop.bus.bus import Bus

Version = Annotated[int, typer.Argument(min=1, metavar="VERSION", help="Number of the version.")]


def retrain(
    model: ModelName, reason: Reason = "", json: Json = False, url: Url = DEFAULT_URL
) -> None:
    """Ask for a run of the loop now."""
    _order(url, model, json, "retrain", reason=reason)


def promote(
    model: ModelName,
    version: Version,
    reason: Reason = "",
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Make a version the champion."""
    _order(url, model, json, "promote", reason=reason, version=version)


def challenge(
    model: ModelName,
    version: Version,
    reason: Reason = "",
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Let a version answer beside the champion; it is promoted if the evidence says so."""
    _order(url, model, json, "challenge", reason=reason, version=version)


def rollback(
    model: ModelName, reason: Reason = "", json: Json = False, url: Url = DEFAULT_URL
) -> None:
    """Give the previous champion its place back."""
    _order(url, model, json, "rollback", reason=reason)


def who() -> str:
    """Who gives the order, for the audit trail."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


async def order(bus: "Bus", model: str, command: requests.Command) -> requests.Done:
    """Send a command to the registry and wait for what it says."""
    payload = msgspec.msgpack.encode(command)
    reply = await bus.ask(requests.command(model), payload, timeout=15.0)
    return msgspec.msgpack.decode(reply.payload, type=requests.Done)


def _order(
    url: str,
    model: str,
    json: bool,
    command: Literal["retrain", "promote", "rollback", "challenge"],
    *,
    reason: str,
    version: int = 0,
) -> None:
    asked = requests.Command(
        command=command, by=who(), reason=reason, version=version, request=new_id()
    )

    async def work(bus: "Bus") -> requests.Done:
        await bus.spec(model)
        return await order(bus, model, asked)

    done = visit(url, work)
    if json:
        output.as_json(done)
    else:
        output.say(done.text)
