"""What an operator asks of the registry: a run, a challenge, a promotion, approval, roll-back."""

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
Waiting = Annotated[
    int, typer.Argument(min=0, metavar="[VERSION]", help="The version that waits; 0: whichever.")
]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who; by default the login name.")]
Deny = Annotated[bool, typer.Option("--deny", help="End the run without a promotion.")]


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


def approve(
    model: ModelName,
    version: Waiting = 0,
    by: By = "",
    reason: Reason = "",
    deny: Deny = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Approve, as a second person, of the version that waits for it, or deny it."""
    command: Literal["approve", "deny"] = "deny" if deny else "approve"
    _order(url, model, json, command, reason=reason, version=version, by=by)


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


def ordered(url: str, model: str, command: requests.Command) -> requests.Done:
    """What the registry of a running system says to a command about a registered model."""

    async def work(bus: "Bus") -> requests.Done:
        await bus.spec(model)
        return await order(bus, model, command)

    return visit(url, work)


def tell(done: requests.Done, *, json: bool) -> None:
    """Say what the registry said."""
    if json:
        output.as_json(done)
    else:
        output.say(done.text)


def _order(
    url: str,
    model: str,
    json: bool,
    command: Literal["retrain", "promote", "rollback", "challenge", "approve", "deny"],
    *,
    reason: str,
    version: int = 0,
    by: str = "",
) -> None:
    asked = requests.Command(
        command=command, by=by or who(), reason=reason, version=version, request=new_id()
    )
    tell(ordered(url, model, asked), json=json)
