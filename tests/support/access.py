"""Tokens for tests: a process that asks for none, and tokens as the registry keeps them."""

from typing import Any

from driftloop.bus.bus import Bus
from driftloop.bus.connection import Connection
from driftloop.contracts.tokens import Token, new_secret
from driftloop.runtime.access import Access
from driftloop.runtime.settings import Shared


def unconnected() -> Bus:
    """A bus that nobody has opened."""
    return Bus(Connection("nats://127.0.0.1:1", "test", None))


def no_tokens() -> Access:
    """The access of a server on a loopback address: nobody needs a token."""
    return Access(unconnected(), Shared())


def made(name: str, *scopes: Any, **more: Any) -> tuple[Token, dict[str, str]]:
    """A token for all models unless `models` are given, and the header with its secret."""
    secret = new_secret()
    token = Token(
        name=name,
        id=secret.id,
        sha256=secret.sha256,
        scopes=scopes,
        **{"models": ("*",), "by": "test", **more},
    )
    return token, {"authorization": f"Bearer {secret.text}"}
