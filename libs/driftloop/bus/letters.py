"""Dead letters: what lies in the stream DEAD, the message as it was, and its way back.

Feedback keeps the labels it gave up in DEAD, too. These are facts of the accounting, not letters:
they are neither listed nor taken out.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import msgspec
from nats.errors import Error as NatsError
from nats.js import api
from nats.js.errors import APIError

from driftloop.bus.messages import Delivered
from driftloop.bus.pull import Pull
from driftloop.bus.retry import transient
from driftloop.contracts import headers
from driftloop.contracts.errors import DriftloopError, InvalidInput, Retry
from driftloop.contracts.names import check_model_name

if TYPE_CHECKING:
    from driftloop.bus.bus import Bus

STREAM: Final = "DEAD"
AT_ONCE: Final = 256
SILENT_SECONDS: Final = 2.0
INACTIVE_SECONDS: Final = 30.0
SIZE: Final = "Nats-Msg-Size"
"""Header of a message whose payload is left out: the payload's bytes."""
TIME: Final = "dl-time"
"""Header of a letter on its way back: when it was put into DEAD, by the broker's clock."""
OURS: Final = (headers.REASON, headers.ORIGIN, TIME)
"""Headers that the original did not have."""
ANY: Final = "*"
GONE: Final = (10037, 10057)
"""What the server says of a message that is not there."""


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter without its payload: who could not use it, why, and where it came from."""

    seq: int
    at: float
    """When it was put there (seconds since 1970)."""
    service: str
    """The consumer that could not use it."""
    model: str
    reason: str
    subject: str
    """Where the original was published."""
    position: str
    """Where the original lies, for example `ROWS:8812`."""
    payload_bytes: int


def is_letter(message: Delivered) -> bool:
    """Whether a message of DEAD is a dead letter, and not labels that feedback gave up."""
    return headers.READ not in message.headers


def letter(message: Delivered) -> Letter:
    """What the headers of a message of DEAD say."""
    _, service, model = message.subject.split(".")
    subject, _, position = message.headers.get(headers.ORIGIN, "").rpartition(" ")
    size = message.headers.get(SIZE, "")
    return Letter(
        seq=message.seq,
        at=message.time,
        service=service,
        model=model,
        reason=message.headers.get(headers.REASON, ""),
        subject=subject,
        position=position,
        payload_bytes=int(size) if size.isdigit() else len(message.payload),
    )


async def letters(bus: "Bus", service: str = ANY, model: str = ANY) -> AsyncIterator[Letter]:
    """The dead letters there are now, oldest first; payloads are not read.

    Raises `InvalidInput` for what is no name, and `Retry` when the broker falls silent.
    """
    connection = bus.connection
    config = api.ConsumerConfig(
        name=f"letters-{connection.service}-{connection.nc.new_inbox()[-12:]}",
        filter_subject=f"dead.{_token('service', service)}.{_token('model', model)}",
        ack_policy=api.AckPolicy.NONE,
        inactive_threshold=INACTIVE_SECONDS,
        headers_only=True,
        mem_storage=True,
        num_replicas=1,
        max_deliver=1,
    )
    with transient(STREAM):
        info = await connection.js.add_consumer(STREAM, config)
    pull, left = Pull(connection, STREAM, info.name, AT_ONCE), info.num_pending or 0
    try:
        with transient(STREAM):
            await pull.open()
            while left > 0:
                group = await pull.next(AT_ONCE, SILENT_SECONDS)
                if not group:
                    raise Retry(f"{STREAM}: nothing came for {SILENT_SECONDS:g} s")
                left -= len(group)
                for message in (one.delivered() for one in group):
                    if is_letter(message):
                        yield letter(message)
    finally:
        await pull.close()
        with contextlib.suppress(NatsError, OSError):
            await connection.js.delete_consumer(STREAM, info.name)


async def message_of(bus: "Bus", seq: int) -> Delivered:
    """The dead letter at a sequence of DEAD; raises `InvalidInput` if there is none."""
    found = await bus.log.at_or_after(STREAM, "dead.*.*", seq)
    if found is None or found.seq != seq or not is_letter(found):
        raise InvalidInput(
            f"letter: {seq} is no dead letter; accepted: a number of `driftloop dead list`"
        )
    return found


def original(found: Delivered) -> Delivered:
    """The message as its consumer saw it, in its own place of the log: so what is made of it again
    has the ids of the first time, and a signature holds.

    `found` is the letter, or the request that brings it. Raises `InvalidInput` if it does not say
    where it came from.
    """
    subject, _, position = found.headers.get(headers.ORIGIN, "").rpartition(" ")
    stream, _, seq = position.partition(":")
    if not subject or not seq.isdigit():
        raise InvalidInput(f"letter: {found.position} does not say where it came from")
    kept = {k: v for k, v in sendable(found).items() if k not in OURS}
    kept[headers.MSG_ID] = found.event_id
    return Delivered(
        subject=subject,
        payload=found.payload,
        headers=kept,
        stream=stream,
        seq=int(seq),
        time=found.time,
    )


def sendable(found: Delivered) -> dict[str, str]:
    """The headers of a letter with which it may be sent on."""
    return {k: v for k, v in found.headers.items() if not k.startswith("Nats-")}


async def remove(bus: "Bus", seq: int) -> None:
    """Take a dead letter out of DEAD; one that is gone already is no error."""
    with transient(STREAM):
        try:
            await bus.connection.js.delete_msg(STREAM, seq)
        except APIError as error:
            if error.err_code not in GONE:
                raise


def _token(field: str, name: str) -> str:
    if name == ANY:
        return name
    try:
        return check_model_name(name)
    except DriftloopError as error:
        raise InvalidInput(f"{field}: {name[:80]!r} is no name in a subject") from error
