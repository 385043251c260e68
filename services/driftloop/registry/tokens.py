"""Requests about tokens; nobody else writes them."""

import asyncio
import logging
import time
from typing import TypeVar

import msgspec

from driftloop.bus.bus import Bus
from driftloop.bus.requests import Reply, Request
from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.requests import Done
from driftloop.contracts.tokens import Revoke, Token, TokenList
from driftloop.registry.domain import tokens

log = logging.getLogger(__name__)

T = TypeVar("T")


class TokenKeeper:
    """Keeps the tokens. Each record says who made and revoked it and when; the bucket keeps the
    last 16 of a name.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._changes = bus.tokens.changes()
        self._known: dict[str, Token] = {}
        self._turn = asyncio.Lock()

    async def on_request(self, request: Request) -> Reply:
        """`token.create`, `token.revoke` or `token.list`."""
        what = request.subject.split(".", 1)[1]
        async with self._turn:
            await self._look()
            if what == "create":
                answer: Done | TokenList = await self._create(_read(request.payload, Token))
            elif what == "revoke":
                answer = await self._revoke(_read(request.payload, Revoke))
            elif what == "list":
                answer = self._list()
            else:
                raise InvalidInput(f"token: {what[:40]!r}; accepted: create, revoke, list")
        return Reply(payload=msgspec.msgpack.encode(answer))

    async def _look(self) -> None:
        for name, token in (await self._changes.next()).items():
            if token is None:
                self._known.pop(name, None)
            else:
                self._known[name] = token

    async def _create(self, asked: Token) -> Done:
        made = tokens.created(asked, self._known.values(), time.time())
        await self._write(made)
        log.info("token %s was made by %s: %s", made.name, made.by, ", ".join(made.scopes))
        return Done(text=f"token {made.name} is made")

    async def _revoke(self, asked: Revoke) -> Done:
        made = tokens.revoked(self._known.get(asked.name), asked.name, asked.by, time.time())
        await self._write(made)
        log.info("token %s was revoked by %s", made.name, made.revoked_by)
        return Done(text=f"token {made.name} is revoked")

    def _list(self) -> TokenList:
        plain = [msgspec.structs.replace(token, sha256="") for token in self._known.values()]
        return TokenList(tokens=tuple(sorted(plain, key=lambda token: token.name)))

    async def _write(self, token: Token) -> None:
        entry = await self._bus.tokens.read(token.name)
        if entry.value != token:
            await self._bus.tokens.write(token.name, token, entry.revision)


def _read(payload: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(payload, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        what = f"accepted: a MessagePack {kind.__name__}"
        raise InvalidInput(f"token: {error}; {what}") from error
