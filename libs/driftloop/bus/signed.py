"""Signatures on what moves models: control events, and the state in buckets.

Rights at the broker say who may write a subject. A signature says so once more, to whoever reads:
it holds against a broker that was misled, and in a copy of the log.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from driftloop.bus.identity import Identity, Trust
from driftloop.contracts.headers import CAUSATION, CORRELATION

if TYPE_CHECKING:
    from driftloop.bus.connection import Connection

SIGNATURE: Final = "dl-signature"
EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
OPERATION: Final = "KV-Operation"
OF_EVENTS: Final = ("ce-id", CORRELATION, CAUSATION)
OF_STATE: Final = (EXPECTED, OPERATION)
"""With the sequence it was to follow, a value of a bucket cannot be put in its place again: the
broker would refuse it."""


def covered(subject: str) -> tuple[str, ...]:
    """Headers that the signature of a message covers; a dead letter still has those of events."""
    return OF_STATE if subject.startswith("$KV.") else OF_EVENTS


def statement(subject: str, headers: Mapping[str, str], payload: bytes) -> bytes:
    """The bytes that are signed: subject, covered headers and payload.

    The first is in no text: a NATS server has whoever logs in sign a text that it chooses.
    """
    lines = [subject, *(f"{name}:{headers.get(name, '')}" for name in covered(subject)), ""]
    return b"\xffmessage\n" + "\n".join(lines).encode() + payload


def sign(
    identity: Identity, subject: str, headers: Mapping[str, str], payload: bytes
) -> dict[str, str]:
    """The headers, with the signature of this message."""
    signature = identity.sign(statement(subject, headers, payload))
    return {**headers, SIGNATURE: base64.b64encode(signature).decode()}


def holds(
    trust: Trust, user: str, subject: str, headers: Mapping[str, str], payload: bytes
) -> bool:
    """Whether `user` signed this message."""
    try:
        signature = base64.b64decode(headers.get(SIGNATURE, ""), validate=True)
    except (binascii.Error, ValueError):
        return False
    return trust.signed(user, statement(subject, headers, payload), signature)


def forged(
    connection: "Connection", user: str, subject: str, headers: Mapping[str, str], payload: bytes
) -> bool:
    """Whether keys are in use here, and `user` did not sign this message; counts those it finds."""
    if connection.trust is None or holds(connection.trust, user, subject, headers, payload):
        return False
    connection.forged += 1
    return True
