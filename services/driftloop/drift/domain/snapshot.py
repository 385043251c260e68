"""A monitor's state as numbers of our own: after a restart it goes on where it was."""

from typing import Final

import msgspec

from driftloop.contracts.errors import InvalidInput
from driftloop.drift.domain.arrays import Array

FORMAT: Final = 1
"""Raised when older numbers can no longer be read: then the log is read again instead."""


class GroupState(msgspec.Struct, frozen=True, kw_only=True):
    """A group of signals: what it learned from, its sums and capital, and its newest rows."""

    names: tuple[str, ...]
    references: dict[int, Array]
    newest: dict[int, Array]
    learning: dict[int, Array]
    residuals: tuple[Array, ...]
    capital: Array
    since: Array
    totals: Array
    cells: Array
    places: Array
    rest: Array
    done: int


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All of a monitor, and the next message of each stream that it is to be fed."""

    format: int
    champion: int
    revision: int
    """Of the spec."""
    next_seq: dict[str, int]
    groups: dict[str, GroupState]
    labelled: Array
    estimates: bytes

    def of(self, champion: int, revision: int) -> bool:
        """Whether it is of this champion under this revision of the spec."""
        return (self.champion, self.revision) == (champion, revision)


def encode(snapshot: Snapshot) -> bytes:
    """MessagePack bytes."""
    return msgspec.msgpack.encode(snapshot)


def decode(data: bytes) -> Snapshot:
    """The snapshot in `data`; raises `InvalidInput` if it is none, or one of another format."""
    try:
        found = msgspec.msgpack.decode(data, type=Snapshot)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InvalidInput(f"snapshot: {error}; accepted: one of format {FORMAT}") from error
    if found.format != FORMAT:
        raise InvalidInput(f"snapshot: format {found.format}; accepted: {FORMAT}")
    return found
