"""Control events and measurements in and out of MessagePack."""

from collections.abc import Sequence
from typing import Final, TypeVar, get_args

import msgspec

from driftloop.contracts.errors import Reject
from driftloop.contracts.events import AnyEvent
from driftloop.contracts.state import ModelState
from driftloop.contracts.stats import AnyStat

EVENT_TYPES: Final[tuple[type[AnyEvent], ...]] = get_args(AnyEvent)
STAT_TYPES: Final[tuple[type[AnyStat], ...]] = get_args(AnyStat)

_encoder = msgspec.msgpack.Encoder()
_event: msgspec.msgpack.Decoder[AnyEvent] = msgspec.msgpack.Decoder(AnyEvent)
_stat: msgspec.msgpack.Decoder[AnyStat] = msgspec.msgpack.Decoder(AnyStat)
_state = msgspec.msgpack.Decoder(ModelState)

T = TypeVar("T")


def encode(value: AnyEvent | AnyStat | ModelState) -> bytes:
    """MessagePack of an event, a measurement or a model's state."""
    return _encoder.encode(value)


def decode_event(payload: bytes) -> AnyEvent:
    """The event in `payload`; raises `Reject` when it is none of ours."""
    return _decode(_event, payload)


def decode_stat(payload: bytes) -> AnyStat:
    """The measurement in `payload`; raises `Reject` when it is none of ours."""
    return _decode(_stat, payload)


def decode_state(payload: bytes) -> ModelState:
    """The model's state in `payload`; raises `Reject` when it cannot be read."""
    return _decode(_state, payload)


def _decode(decoder: msgspec.msgpack.Decoder[T], payload: bytes) -> T:
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Reject(f"payload: {error}; accepted: MessagePack of a Driftloop message") from error


def kinds(types: Sequence[type[AnyEvent]]) -> list[str]:
    """The `kind` of each event type."""
    return [t.kind for t in types]
