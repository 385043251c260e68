"""The chain of a model's control events: a digest of each, and of all that came before it."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from driftloop.contracts.errors import Reject

STREAM: Final = "CHAIN"
BROKERS: Final = "nats-"
"""Headers that begin so are the broker's, and its de-duplication's: no part of what was said."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One event: its sequence in EVENTS and the SHA-256 of what it said (32 bytes)."""

    seq: int
    sha256: bytes


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Some entries in a row. `before` and `after` are the hash of the chain before and after them.

    `number` counts the entries before these; `done`: all events up to there were in their chains
    when this was written. `signature` is the registry's; empty without a key.
    """

    model: str
    number: int
    before: bytes
    entries: tuple[Entry, ...]
    after: bytes
    done: int
    signature: bytes = b""

    @property
    def last(self) -> int:
        """The sequence of the newest event in it."""
        return self.entries[-1].seq if self.entries else 0


_decode: Final = msgspec.msgpack.Decoder(Link).decode


def genesis(model: str) -> bytes:
    """The hash of a chain without entries."""
    return hashlib.sha256(f"driftloop chain 1 {model}".encode()).digest()


def extended(before: bytes, entries: Iterable[Entry]) -> bytes:
    """The hash of a chain after some more entries: each is hashed with the hash before it."""
    for entry in entries:
        before = hashlib.sha256(before + entry.seq.to_bytes(8, "big") + entry.sha256).digest()
    return before


def event_sha256(subject: str, headers: Mapping[str, str], payload: bytes) -> bytes:
    """The digest of an event as it was published: subject, headers but the broker's, payload."""
    ours = {k: v for k, v in headers.items() if not k.lower().startswith(BROKERS)}
    told = msgspec.msgpack.encode([subject, sorted(ours.items()), payload])
    return hashlib.sha256(told).digest()


def encode(link: Link) -> bytes:
    """MessagePack of a link."""
    return msgspec.msgpack.encode(link)


def decode(payload: bytes) -> Link:
    """The link in `payload`; raises `Reject` when it is none."""
    try:
        return _decode(payload)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Reject(f"payload: {error}; accepted: MessagePack of a link of the chain") from error
