"""`dead`: look at dead letters, give them back to who could not use them, or give them up."""

from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

import msgspec
import typer

from driftloop.cli import output
from driftloop.cli.exits import Exit, Stop
from driftloop.cli.options import DEFAULT_URL, Json, Reason, Url
from driftloop.cli.session import visit
from driftloop.contracts import requests
from driftloop.contracts.errors import DriftloopError, InvalidInput, Retry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from driftloop.bus.bus import Bus
    from driftloop.bus.letters import Letter
    from driftloop.bus.messages import Delivered

SHOWN_ROWS: Final = 10
SHOWN_BYTES: Final = 2_000

commands = typer.Typer(
    no_args_is_help=True, help="Messages that a service could not use: list, replay or drop them."
)

Numbers = Annotated[
    list[int] | None, typer.Argument(metavar="[NUMBER]...", help="Numbers as `dead list` has them.")
]
Number = Annotated[int, typer.Argument(min=1, metavar="NUMBER", help="As `dead list` has it.")]
Service = Annotated[
    str, typer.Option(metavar="CONSUMER", help="Only letters of this consumer, as in the list.")
]
Model = Annotated[str, typer.Option(metavar="MODEL", help="Only letters about this model.")]
All = Annotated[bool, typer.Option("--all", help="All letters there are.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before.")]

Verb = Literal["replay", "drop"]


class Which(NamedTuple):
    """Which letters are meant: these numbers, or all of a consumer and a model (`*` is any)."""

    numbers: "Sequence[int]"
    service: str
    model: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a letter; `error` is empty if it went well."""

    letter: int
    text: str = ""
    error: str = ""


@commands.command(name="list")
def list_(
    service: Service = "*", model: Model = "*", json: Json = False, url: Url = DEFAULT_URL
) -> None:
    """List the dead letters, oldest first, with the reason and where each came from."""
    found = visit(url, lambda bus: _letters(bus, Which((), service, model)))
    if json:
        output.as_json(found)
        return
    if not found:
        output.say("There are no dead letters.")
        return
    columns = ("number", "at", "consumer", "model", "bytes", "origin", "reason")
    rows = (
        (
            one.seq,
            output.moment(_iso(one.at)),
            one.service,
            one.model,
            f"{one.payload_bytes:,}",
            f"{one.subject} {one.position}",
            one.reason,
        )
        for one in found
    )
    output.table(columns, rows, right=("number", "bytes"))


@commands.command()
def show(number: Number, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Show a dead letter: its headers, and what can be read of its payload."""

    async def work(bus: "Bus") -> "Delivered":
        from driftloop.bus.letters import message_of

        return await message_of(bus, number)

    found = visit(url, work)
    kind, content = _read(found)
    if json:
        headers = dict(found.headers)
        output.as_json({"letter": number, "headers": headers, "kind": kind, "content": content})
        return
    for name, value in sorted(found.headers.items()):
        output.say(f"{name}: {value}")
    output.say(f"\n{kind}, {len(found.payload):,} bytes:", "bold")
    for line in content if isinstance(content, list) else [content]:
        output.say(line if isinstance(line, str) else _line(line))


@commands.command()
def replay(
    numbers: Numbers = None,
    service: Service = "*",
    model: Model = "*",
    all_: All = False,
    reason: Reason = "",
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Give letters back to who could not use them; one that works now is a letter no more."""
    which = _which(numbers or (), service, model, everything=all_)
    _tell(visit(url, lambda bus: _order_all(bus, "replay", which, reason)), "replay", json=json)


@commands.command()
def drop(
    numbers: Numbers = None,
    service: Service = "*",
    model: Model = "*",
    all_: All = False,
    yes: Yes = False,
    reason: Reason = "",
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Give letters up for good; the audit trail says who did it and why."""
    which = _which(numbers or (), service, model, everything=all_)
    if not yes:
        found = visit(url, lambda bus: _letters(bus, which))
        typer.confirm(f"Drop {len(found):,} dead letters for good?", abort=True, err=True)
    _tell(visit(url, lambda bus: _order_all(bus, "drop", which, reason)), "drop", json=json)


def _which(numbers: "Sequence[int]", service: str, model: str, *, everything: bool) -> Which:
    chosen = bool(numbers) + (service != "*" or model != "*") + everything
    if chosen != 1:
        raise InvalidInput(
            "NUMBER: say which letters; accepted: numbers, or --service and --model, or --all"
        )
    return Which(numbers, service, model)


async def _letters(bus: "Bus", which: Which) -> "list[Letter]":
    from driftloop.bus.letters import letter, letters, message_of

    if which.numbers:
        return [letter(await message_of(bus, number)) for number in which.numbers]
    return [one async for one in letters(bus, which.service, which.model)]


async def _order_all(bus: "Bus", verb: Verb, which: Which, reason: str) -> list[Outcome]:
    """One after the other, oldest first; a letter that stays does not hold up the others."""
    found = await _letters(bus, which)
    made: list[Outcome] = []
    with output.err.status("") as status:
        for at, one in enumerate(found, 1):
            status.update(f"{verb} {at:,} of {len(found):,}")
            made.append(await _order(bus, verb, one.seq, reason))
    return made


async def _order(bus: "Bus", verb: Verb, number: int, reason: str) -> Outcome:
    from driftloop.cli.steer import who

    order = msgspec.msgpack.encode(requests.LetterOrder(letter=number, by=who(), reason=reason))
    wait = requests.REDELIVER_SECONDS + 5.0
    try:
        reply = await bus.ask(requests.dead(verb), order, timeout=wait)
    except Retry:
        raise
    except DriftloopError as error:
        return Outcome(letter=number, error=str(error))
    return Outcome(
        letter=number, text=msgspec.msgpack.decode(reply.payload, type=requests.Done).text
    )


def _tell(made: list[Outcome], verb: Verb, *, json: bool) -> None:
    failed = [one for one in made if one.error]
    if json:
        output.as_json({"verb": verb, "done": len(made) - len(failed), "letters": made})
    else:
        for one in made:
            if one.error:
                output.fail(f"letter {one.letter} stays: {one.error}")
            else:
                output.say(one.text)
        output.say(f"{len(made) - len(failed):,} letters done, {len(failed):,} stay.")
    if failed:
        raise Stop(Exit.NO)


def _read(found: "Delivered") -> tuple[str, object]:
    """What a payload is, and what of it a person can read."""
    from driftloop.bus.letters import original

    try:
        if found.headers.get("content-type", "").endswith("arrow.stream"):
            batch = found.batch()
            rows = batch.slice(0, SHOWN_ROWS).to_pylist()
            return f"{batch.num_rows:,} rows of {batch.num_columns} columns", rows
        if original(found).stream == "EVENTS":
            return "event", [msgspec.to_builtins(found.event())]
    except DriftloopError as error:
        return f"unreadable ({error})", _raw(found.payload)
    return "bytes", _raw(found.payload)


def _raw(payload: bytes) -> str:
    return repr(payload[:SHOWN_BYTES])


def _line(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def _iso(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat()
