"""`token`: create, list and revoke the tokens of callers over HTTP and gRPC."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import typer

from driftloop.cli import output
from driftloop.cli.options import DEFAULT_URL, Json, Url
from driftloop.cli.session import visit
from driftloop.cli.steer import who
from driftloop.contracts import tokens
from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.requests import Done
from driftloop.contracts.tokens import EVERY, SCOPES, Scope, Token, TokenList, What
from driftloop.modelspec.durations import seconds

if TYPE_CHECKING:
    from driftloop.bus.bus import Bus

T = TypeVar("T")

commands = typer.Typer(no_args_is_help=True, help="Tokens of callers over HTTP and gRPC.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the token.")]
Scopes = Annotated[
    list[str],
    typer.Option("--scope", metavar="SCOPE", help=f"A right: {', '.join(SCOPES)}; again for more."),
]
Models = Annotated[
    list[str],
    typer.Option("--model", metavar="MODEL", help="A model it is for, or *; again for more."),
]
Rate = Annotated[
    float, typer.Option("--rate", metavar="ROWS", help="Rows a second in each process; 0: any.")
]
MaxBytes = Annotated[
    int, typer.Option("--max-bytes", metavar="BYTES", help="Largest body; 0: that of the service.")
]
Expires = Annotated[
    str, typer.Option("--expires", metavar="TIME", help="How long it is good, as 12h or 30d.")
]


@commands.command()
def create(
    name: Name,
    scope: Scopes,
    model: Models,
    rate: Rate = 0.0,
    max_bytes: MaxBytes = 0,
    expires: Expires = "",
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Make a token, and print its secret: only now, for nobody keeps it."""
    secret = tokens.new_secret()
    asked = Token(
        name=name,
        id=secret.id,
        sha256=secret.sha256,
        scopes=_scopes(scope),
        models=tuple(dict.fromkeys(model)),
        rate=rate,
        max_bytes=max_bytes,
        expires=_until(expires),
        by=who(),
    )
    done = _ask(url, "create", asked, Done)
    if json:
        output.as_json({"name": name, "secret": secret.text})
    else:
        output.note(f"{done.text}; its secret is not shown again:")
        output.raw(secret.text)


@commands.command("list")
def list_(json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Show all tokens, those that are good no more included, without their secrets."""
    found = _ask(url, "list", None, TokenList).tokens
    if json:
        output.as_json([_plain(token) for token in found])
    else:
        columns = ("token", "id", "scopes", "models", "rows/s", "bytes", "expires", "made", "state")
        now = time.time()
        output.table(columns, [_row(token, now) for token in found], right=("rows/s", "bytes"))


@commands.command()
def revoke(name: Name, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Make a token good no more; services refuse it some seconds later."""
    done = _ask(url, "revoke", tokens.Revoke(name=name, by=who()), Done)
    if json:
        output.as_json(done)
    else:
        output.say(done.text)


def _ask(url: str, what: What, asked: msgspec.Struct | None, kind: type[T]) -> T:
    async def work(bus: "Bus") -> T:
        payload = msgspec.msgpack.encode(asked) if asked is not None else b""
        reply = await bus.ask(tokens.ask(what), payload)
        return msgspec.msgpack.decode(reply.payload, type=kind)

    return visit(url, work)


def _scopes(given: list[str]) -> tuple[Scope, ...]:
    for scope in given:
        if scope not in SCOPES:
            raise InvalidInput(f"--scope: {scope!r:.40} is no scope; accepted: {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in given)


def _until(text: str) -> float:
    if not text:
        return 0.0
    try:
        return time.time() + seconds(text)
    except ValueError as error:
        raise InvalidInput(f"--expires: {error}") from error


def _row(token: Token, now: float) -> tuple[str, ...]:
    return (
        token.name,
        token.id,
        ", ".join(token.scopes),
        "all" if EVERY in token.models else ", ".join(token.models),
        f"{token.rate:g}" if token.rate else "any",
        str(token.max_bytes) if token.max_bytes else "any",
        _moment(token.expires) or "never",
        f"{_moment(token.created)} by {token.by}",
        _state(token, now),
    )


def _state(token: Token, now: float) -> str:
    if token.revoked:
        return f"revoked {_moment(token.revoked)} by {token.revoked_by}"
    return "good" if token.live(now) else "expired"


def _plain(token: Token) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.to_builtins(token)
    del made["sha256"]
    return made | {"live": token.live(time.time())}


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}" if at else ""
