"""Bearer tokens of callers over HTTP and gRPC: what is kept of one, and how a secret is made.

A secret has 256 random bits, so nobody finds it by trying, and SHA-256 is enough to keep it by:
slow hashes (bcrypt, scrypt) protect passwords, which people choose and others can guess. Only the
hash is kept or sent; the secret exists where it is made and at its owner. It carries an open id by
which its record is found, so hashes are compared in constant time and never searched for.
"""

import hashlib
import hmac
import re
import secrets
from typing import Final, Literal, NamedTuple, get_args

import msgspec

Scope = Literal["rows", "labels", "predict", "read", "operate"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
EVERY: Final = "*"
"""In place of a model's name: all models, now and later."""
MOST_TOKENS: Final = 10_000
"""Names of tokens, those of revoked ones included."""

What = Literal["create", "revoke", "list"]
SUBJECTS: Final = ("token.create", "token.revoke", "token.list")
"""Requests about tokens. Owner: registry."""

PREFIX: Final = "dlt"
_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_FORM: Final = re.compile(rf"{PREFIX}_([0-9a-f]{{{2 * _ID_BYTES}}})_[A-Za-z0-9_-]{{43}}", re.ASCII)
ID: Final = re.compile(rf"[0-9a-f]{{{2 * _ID_BYTES}}}\Z")


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry keeps of a token: whom it is for, its rights and bounds, never its secret.

    `id` is the open part of the secret, `sha256` the hash of all of it. `models` are names, or `*`.
    `rate` is rows a second and `max_bytes` the largest body, 0 for no bound. Times are seconds
    since 1970, 0 for never.
    """

    name: str
    id: str
    sha256: str
    scopes: tuple[Scope, ...]
    models: tuple[str, ...]
    rate: float = 0.0
    max_bytes: int = 0
    expires: float = 0.0
    created: float = 0.0
    by: str = ""
    revoked: float = 0.0
    revoked_by: str = ""

    def live(self, now: float) -> bool:
        """Whether it is good at `now`."""
        return not self.revoked and (not self.expires or now < self.expires)


class Revoke(msgspec.Struct, frozen=True, kw_only=True):
    """A request to revoke the token of this name."""

    name: str
    by: str


class TokenList(msgspec.Struct, frozen=True, kw_only=True):
    """All tokens, by name, without their hashes."""

    tokens: tuple[Token, ...]


class Secret(NamedTuple):
    """A secret to show once, and what is kept of it."""

    text: str
    id: str
    sha256: str


def ask(what: What) -> str:
    """A `Token`, a `Revoke` or nothing; answered by `Done` or a `TokenList`. Owner: registry."""
    return f"token.{what}"


def new_secret() -> Secret:
    """Make a secret from the randomness of the operating system."""
    id = secrets.token_hex(_ID_BYTES)
    text = f"{PREFIX}_{id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    return Secret(text, id, hashed(text))


def hashed(text: str) -> str:
    """SHA-256 of a secret as 64 hexadecimal characters."""
    return hashlib.sha256(text.encode()).hexdigest()


def id_of(text: str) -> str:
    """The open id in a secret; empty where the text is none."""
    found = _FORM.fullmatch(text)
    return found[1] if found else ""


def same(token: Token, text: str) -> bool:
    """Whether `text` is the secret of the token; takes as long whatever differs."""
    return hmac.compare_digest(token.sha256.encode(), hashed(text).encode())


_decoder = msgspec.msgpack.Decoder(Token)
_UNREADABLE: Final = Token(name="", id="", sha256="", scopes=(), models=(), revoked=1.0)


def decode(payload: bytes) -> Token:
    """The token in `payload`; one nobody can read counts as revoked, or it would hide others."""
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return _UNREADABLE
