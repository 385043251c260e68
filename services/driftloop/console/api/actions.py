"""Orders of an operator over HTTP: each with its right, its reason and the page it comes from."""

from typing import Any, Final, Literal, TypeVar

import msgspec
from fastapi import FastAPI, Request, Response

from driftloop.bus.bus import unknown
from driftloop.client.requeue import Requeued
from driftloop.console.api.answers import JSON, answer, gives
from driftloop.console.api.shapes.actions import Check, Order, Requeue, SpecText
from driftloop.console.domain import edits
from driftloop.console.login import foreign
from driftloop.console.orders import Orders
from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.names import check_model_name, new_id
from driftloop.contracts.requests import Command, Done, LetterOrder
from driftloop.runtime.access import Rules, anywhere, of_model, refusal, right_of
from driftloop.runtime.problems import read_body

MOST_BYTES: Final = 16_384
MOST_SPEC_BYTES: Final = 1 << 20
MOST_REASON: Final = 1_000
MOST_NAME: Final = 200
RULES: Final[Rules] = {
    "POST /api/models/{model}/spec/check": of_model("operate"),
    "POST /api/models/{model}/spec": of_model("operate"),
    "POST /api/models/{model}/{command}": of_model("operate"),
    "POST /api/data/dead/{seq}/{verb}": anywhere("operate"),
    "POST /api/data/quarantine/replay": anywhere("operate"),
}
"""Dead letters and rows of quarantine: those of the token's models alone, as their handlers see."""

T = TypeVar("T", Order, SpecText, Requeue)


def add_actions(app: FastAPI, orders: Orders) -> None:
    """Add the routes of `RULES`."""
    _edits(app, orders)
    _commands(app, orders)
    _data(app, orders)


def _commands(app: FastAPI, orders: Orders) -> None:
    @app.post("/api/models/{model}/{command}", openapi_extra=_body(Order), responses=gives(Done))
    async def order(
        model: str,
        command: Literal[
            "retrain",
            "challenge",
            "promote",
            "approve",
            "deny",
            "rollback",
            "pause",
            "resume",
            "silence",
        ],
        request: Request,
    ) -> Response:
        """Order something of the registry, which decides; its answer says what happened."""
        if refused := foreign(request):
            return refused
        asked = await _read(request, Order)
        if command in ("promote", "challenge") and asked.version < 1:
            raise InvalidInput(f"version: {asked.version} is no version; accepted: 1 or above")
        wanted = Command(
            command=command,
            by=_by(request, asked.by),
            reason=_reason(asked.reason),
            version=asked.version,
            detector=asked.detector,
            seconds=asked.seconds,
            request=new_id(),
        )
        return answer(await orders.command(check_model_name(model), wanted))


def _edits(app: FastAPI, orders: Orders) -> None:
    @app.post(
        "/api/models/{model}/spec/check", openapi_extra=_body(SpecText), responses=gives(Check)
    )
    async def check(model: str, request: Request) -> Response:
        """Say what a spec would change, and all that is wrong with it; nothing is registered."""
        if refused := foreign(request):
            return refused
        asked = await _read(request, SpecText, MOST_SPEC_BYTES)
        known = await orders.spec(check_model_name(model))
        return answer(edits.check(asked.text, known, asked.revision or None))

    @app.post(
        "/api/models/{model}/spec",
        openapi_extra=_body(SpecText),
        responses={**gives(Done), 409: refusal("Another revision came first: check again")},
    )
    async def edit(model: str, request: Request) -> Response:
        """Register a spec in place of a revision; 409 if another came first."""
        if refused := foreign(request):
            return refused
        asked = await _read(request, SpecText, MOST_SPEC_BYTES)
        by, reason = _by(request, asked.by), _reason(asked.reason)
        name = check_model_name(model)
        return answer(await orders.edit(name, asked.text, asked.revision, by, reason, new_id()))


def _data(app: FastAPI, orders: Orders) -> None:
    @app.post("/api/data/dead/{seq}/{verb}", openapi_extra=_body(Order), responses=gives(Done))
    async def dead(seq: int, verb: Literal["replay", "drop"], request: Request) -> Response:
        """Give a dead letter back to who could not use it, or give it up for good."""
        if refused := foreign(request):
            return refused
        asked, right = await _read(request, Order), right_of(request)
        by, reason = _by(request, asked.by), _reason(asked.reason)
        if right is not None and not right.covers((await orders.letter(seq)).model):
            raise InvalidInput(f"letter: {seq} is no dead letter; accepted: one of /api/data/dead")
        return answer(await orders.dead(verb, LetterOrder(letter=seq, by=by, reason=reason)))

    @app.post(
        "/api/data/quarantine/replay", openapi_extra=_body(Requeue), responses=gives(Requeued)
    )
    async def replay(request: Request) -> Response:
        """Send rows of quarantine again, and the labels given up with them: up to a minute."""
        if refused := foreign(request):
            return refused
        asked, right = await _read(request, Requeue), right_of(request)
        model = check_model_name(asked.model)
        if right is not None and not right.covers(model):
            raise unknown(model)
        wanted = Command(
            command="requeue",
            by=_by(request, asked.by),
            reason=_reason(asked.reason),
            request=new_id(),
        )
        await orders.command(model, wanted)
        return answer(await orders.requeue(model, asked.containing))


async def _read(request: Request, kind: type[T], most: int = MOST_BYTES) -> T:
    """The body; raises `InvalidInput`, or `TooLarge`."""
    body = await read_body(request, most)
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        accepted = f"accepted: JSON with {', '.join(kind.__struct_fields__)}"
        raise InvalidInput(f"body: {error}; {accepted}") from error


def _by(request: Request, told: str) -> str:
    """Who it is, for the audit trail: the token, and only where none is needed what they say."""
    right = right_of(request)
    if right is not None:
        return f"token {right.token.name}"
    if len(told) > MOST_NAME or not told.strip() or not told.isprintable():
        raise InvalidInput(f"by: {told[:80]!r}; accepted: a name of 1 to {MOST_NAME} characters")
    return told


def _reason(told: str) -> str:
    """Why, for the audit trail; raises `InvalidInput` without one."""
    if not told.strip():
        raise InvalidInput("reason: is missing; accepted: why, for the audit trail")
    if len(told) > MOST_REASON:
        raise InvalidInput(f"reason: {len(told)} characters; accepted: at most {MOST_REASON}")
    if not " ".join(told.split()).isprintable():  # it is shown in terminals
        raise InvalidInput(f"reason: {told[:80]!r} has control characters; accepted: text")
    return told


def _body(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The body of an order, for OpenAPI."""
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": True, "content": {JSON: {"schema": schema}}}}
