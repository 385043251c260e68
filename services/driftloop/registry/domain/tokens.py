"""Which tokens may be made and revoked."""

import re
from collections.abc import Collection
from typing import Final

import msgspec

from driftloop.contracts.errors import InvalidInput, InvalidName
from driftloop.contracts.names import MODEL_NAME, MODEL_NAME_ACCEPTED, check_model_name
from driftloop.contracts.tokens import EVERY, ID, MOST_TOKENS, SCOPES, Token

_HASH: Final = re.compile(r"[0-9a-f]{64}\Z")
MOST_MODELS: Final = 1_000
MOST_TEXT: Final = 200


def created(asked: Token, known: Collection[Token], now: float) -> Token:
    """The token to keep; raises `InvalidInput`. Asked again with the same secret it is the same."""
    _check(asked, now)
    for other in known:
        if other.name == asked.name and other.live(now):
            if (other.id, other.sha256) == (asked.id, asked.sha256):
                return other
            raise InvalidInput(
                f"name: {asked.name!r} is the name of a live token; accepted: another name, or "
                "this one after it was revoked"
            )
        if other.id == asked.id and other.name != asked.name:
            raise InvalidInput(f"id: {asked.id} is another token's; accepted: a new secret")
    if len(known) >= MOST_TOKENS and asked.name not in {token.name for token in known}:
        raise InvalidInput(
            f"name: there are {MOST_TOKENS} tokens; accepted: the name of one that was revoked"
        )
    return msgspec.structs.replace(asked, created=now, revoked=0.0, revoked_by="")


def revoked(token: Token | None, name: str, by: str, now: float) -> Token:
    """The token as one that is good no more; raises `InvalidInput` for one that is not there."""
    if token is None:
        raise InvalidInput(f"name: {name[:80]!r} is no token; see `driftloop token list`")
    if token.revoked:
        return token
    return msgspec.structs.replace(token, revoked=now, revoked_by=by[:MOST_TEXT])


def _check(asked: Token, now: float) -> None:
    if not MODEL_NAME.match(asked.name):
        accepted = f"accepted: {MODEL_NAME_ACCEPTED}"
        raise InvalidName(f"name: {asked.name[:80]!r} is no name of a token; {accepted}")
    if not (ID.match(asked.id) and _HASH.match(asked.sha256)):
        raise InvalidInput("secret: its id or hash is none; accepted: what `driftloop token` makes")
    if not asked.scopes:
        raise InvalidInput(f"scopes: there is none; accepted: some of {', '.join(SCOPES)}")
    if not 0 < len(asked.models) <= MOST_MODELS:
        raise InvalidInput(
            f"models: {len(asked.models)} of them; accepted: {EVERY!r}, or 1 to {MOST_MODELS} names"
        )
    for model in asked.models:
        if model != EVERY:
            check_model_name(model)
    _check_bounds(asked, now)


def _check_bounds(asked: Token, now: float) -> None:
    if not 0.0 <= asked.rate <= 1e12:
        raise InvalidInput(f"rate: {asked.rate}; accepted: rows a second, 0 for no bound")
    if asked.max_bytes < 0:
        raise InvalidInput(f"max_bytes: {asked.max_bytes}; accepted: bytes, 0 for no bound")
    if asked.expires and not now < asked.expires < 1e11:
        raise InvalidInput(f"expires: {asked.expires} is not to come; accepted: a later time, or 0")
    if len(asked.by) > MOST_TEXT:
        raise InvalidInput(f"by: {len(asked.by)} characters; accepted: at most {MOST_TEXT}")
