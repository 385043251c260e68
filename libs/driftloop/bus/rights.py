"""What each user may do at the broker: least privilege, made from who says and hears what.

A service may write its own subjects, read the streams it works on, and drive its own consumers.
The broker refuses everything else, whatever the code of a service that was taken over does. Deny
wins over allow: https://docs.nats.io/learn/security/authorization
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from driftloop.contracts.codec import EVENT_TYPES, STAT_TYPES
from driftloop.contracts.requests import OPERATE_DEAD, QUERY_SQL
from driftloop.contracts.state import (
    MODELS_BUCKET,
    MONITORS_BUCKET,
    NOTICES_BUCKET,
    SPECS_BUCKET,
    TOKENS_BUCKET,
)
from driftloop.contracts.subjects import STREAMS

ADMIN: Final = "admin"
"""Makes the streams and buckets; no process that runs for long has its key."""
OPERATOR: Final = "operator"
"""The command line: asks the registry, reads every log."""
CLIENT: Final = "client"
"""Producers and callers: send rows and labels, ask for predictions."""
EVERY: Final = "*"

SPECS: Final = f"KV_{SPECS_BUCKET}"
MODELS: Final = f"KV_{MODELS_BUCKET}"
MONITORS: Final = f"KV_{MONITORS_BUCKET}"
TOKENS: Final = f"KV_{TOKENS_BUCKET}"
NOTICES: Final = f"KV_{NOTICES_BUCKET}"
OWNERS: Final = "KV_OWNERS"
ARTIFACTS: Final = "OBJ_ARTIFACTS"
SHARED: Final = (SPECS, TOKENS)
"""What every service may read: the specs, and the tokens of its HTTP callers."""
LOGS: Final = tuple(stream.name for stream in STREAMS)
TRIMMED: Final = tuple(stream.name for stream in STREAMS if stream.discard == "handled")
"""Streams whose oldest messages the registry removes, when all have handled them."""
ANSWER_SECONDS: Final = 120
"""How long after a request its answer is let through."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The part of one user: what it writes beside its events, hears, asks, answers and reads.

    `durables` are its shared consumers by stream, `reads` the streams it may look into, `lists`
    those whose consumers it may see, `trims` those whose oldest messages it removes.
    """

    says: tuple[str, ...] = ()
    durables: tuple[tuple[str, str], ...] = ()
    reads: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    trims: tuple[str, ...] = ()
    hears: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """Subjects a user may publish and subscribe to; `answers`: may answer what it is asked."""

    publish: tuple[str, ...]
    deny: tuple[str, ...]
    subscribe: tuple[str, ...]
    answers: bool


INGEST: Final = ("ingest.*.rows", "ingest.*.labels")
INFER: Final = "infer.*"
COMMAND: Final = "command.*"
TOKEN: Final = "token.*"
OPERATE: Final = "operate.*.*"

PARTS: Final[dict[str, Part]] = {
    "ingest": Part(
        says=("rows.*.received.*", "labels.*.received.*"),
        reads=(*SHARED, *LOGS),
        answers=INGEST,
    ),
    "validation": Part(
        says=("rows.*.valid.*", "rows.*.quarantined.*"),
        durables=(
            ("ROWS", "validation-rows"),
            ("ROWS", "validation-backlog"),
            ("EVENTS", "validation"),
        ),
        reads=(*SHARED, "ROWS", "OUTCOMES", "EVENTS", MODELS, ARTIFACTS),
    ),
    "inference": Part(
        says=("scored.*.*",),
        durables=(("ROWS", "inference-scored"), ("ROWS", "inference-backlog")),
        reads=(*SHARED, "ROWS", "EVENTS", MODELS, ARTIFACTS),
        answers=(INFER,),
    ),
    "feedback": Part(
        says=("outcomes.*.*", f"$KV.{OWNERS.removeprefix('KV_')}.feedback.>"),
        reads=(*SHARED, "ROWS", "LABELS", "SCORED", "OUTCOMES", "EVENTS", "DEAD", MODELS, OWNERS),
    ),
    "drift": Part(
        says=(f"$KV.{OWNERS.removeprefix('KV_')}.drift.>", f"$KV.{MONITORS_BUCKET}.>"),
        reads=(*SHARED, "SCORED", "OUTCOMES", "EVENTS", MODELS, MONITORS, OWNERS),
    ),
    "trainer": Part(
        says=("$O.ARTIFACTS.>",),
        durables=(("EVENTS", "trainer"),),
        reads=(*SHARED, "OUTCOMES", "EVENTS", MODELS, ARTIFACTS),
    ),
    "registry": Part(
        says=(
            f"$KV.{MODELS_BUCKET}.>",
            f"$KV.{SPECS_BUCKET}.>",
            f"$KV.{TOKENS_BUCKET}.>",
            "chain.*",
            "$JS.API.STREAM.MSG.DELETE.DEAD",  # letters that were replayed or dropped
        ),
        durables=(("EVENTS", "registry"),),
        reads=(*SHARED, "EVENTS", "CHAIN", "DEAD", "SCORED", "OUTCOMES", "STATS", MODELS),
        trims=tuple(stream.name for stream in STREAMS if stream.discard == "handled"),
        hears=("stats.join.*",),
        asks=("redeliver.*",),
        answers=(COMMAND, TOKEN, OPERATE),
    ),
    "telemetry": Part(
        durables=(
            ("ROWS", "telemetry-rows"),
            ("LABELS", "telemetry-labels"),
            ("SCORED", "telemetry-scored"),
            ("OUTCOMES", "telemetry-outcomes"),
            ("EVENTS", "telemetry-events"),
            ("EVENTS", "telemetry"),
            ("STATS", "telemetry-stats"),
            ("DEAD", "telemetry-dead"),
        ),
        reads=(*SHARED, *LOGS, MODELS),
        answers=(QUERY_SQL,),
    ),
    "console": Part(
        says=(f"$KV.{OWNERS.removeprefix('KV_')}.console.>", f"$KV.{NOTICES_BUCKET}.>"),
        reads=(*SHARED, *LOGS, MODELS, OWNERS, NOTICES),
        lists=LOGS,
        asks=(COMMAND, QUERY_SQL, OPERATE_DEAD, *INGEST),  # rows of quarantine are sent again
    ),
    OPERATOR: Part(
        reads=(*SHARED, *LOGS, MODELS, ARTIFACTS),
        hears=("events.>", "stats.>"),
        asks=(COMMAND, TOKEN, OPERATE, QUERY_SQL, INFER, *INGEST),
    ),
    CLIENT: Part(asks=(INFER, *INGEST)),
}
USERS: Final = (*PARTS, ADMIN)
SERVICES: Final = tuple(user for user in PARTS if user not in (OPERATOR, CLIENT))


def inbox(user: str) -> str:
    """Where a user hears answers; nobody else may listen there."""
    return f"_INBOX.{user}"


def rights(user: str) -> Rights:
    """The rights of a user; the admin's are all there are."""
    if user == ADMIN:
        return Rights(publish=(">",), deny=(), subscribe=(">",), answers=False)
    return _rights(user, PARTS[user])


def client_rights(name: str, models: Sequence[str]) -> Rights:
    """The rights of a caller with a key of its own, for some models (`*`: all)."""
    asks = tuple(pattern.replace("*", model) for model in models for pattern in (INFER, *INGEST))
    return _rights(name, Part(asks=asks))


def _rights(user: str, part: Part) -> Rights:
    return Rights(
        publish=(*_says(user, part), *part.asks, *_drives(part)),
        deny=tuple(_of_others(user, part)),
        subscribe=(f"{inbox(user)}.>", *_hears(user, part)),
        answers=bool(part.answers or part.durables),
    )


def _says(user: str, part: Part) -> Iterator[str]:
    yield from part.says
    yield from (f"events.*.{event.kind}" for event in EVENT_TYPES if event.owner == user)
    yield from (f"stats.{stat.kind}.*" for stat in STAT_TYPES if stat.owner == user)
    if user in SERVICES:
        yield from (f"stats.{stat.kind}.{user}" for stat in STAT_TYPES if stat.owner == EVERY)
        names = {user, *(durable for _, durable in part.durables)}
        yield from (f"dead.{name}.*" for name in sorted(names))


def _hears(user: str, part: Part) -> Iterator[str]:
    """Services learn from events that what they keep in memory has changed."""
    yield from (*part.hears, *part.answers)
    yield from (f"redeliver.{durable}" for _, durable in part.durables)
    if user in SERVICES:
        yield "events.>"


def _drives(part: Part) -> Iterator[str]:
    """JetStream's API, as far as it reads, and the user's own consumers.

    Not `DIRECT.GET`: its answer is the message as it is, and goes to whatever subject the request
    names, past the rights of who asks. So what one user may write could be put under any subject.
    https://docs.nats.io/reference/reference-protocols/nats_api_reference
    """
    if part.reads:  # sizes of streams are no secret among services
        yield from ("$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO.*")
    for stream in part.reads:
        yield f"$JS.API.STREAM.MSG.GET.{stream}"
        yield f"$JS.API.CONSUMER.CREATE.{stream}.>"
        yield from (f"$JS.API.CONSUMER.{verb}.{stream}.*" for verb in ("INFO", "DELETE"))
        yield f"$JS.API.CONSUMER.MSG.NEXT.{stream}.*"
    if ARTIFACTS in part.reads:  # the object store's client makes consumers without a name
        yield from (f"$JS.API.CONSUMER.CREATE.{ARTIFACTS}", f"$JS.FC.{ARTIFACTS}.>")
    yield from (f"$JS.API.CONSUMER.LIST.{stream}" for stream in part.lists)
    for stream in part.trims:
        yield f"$JS.API.STREAM.PURGE.{stream}"
        yield f"$JS.API.CONSUMER.LIST.{stream}"
        yield f"$JS.API.CONSUMER.INFO.{stream}.*"
    for stream, durable in part.durables:
        yield f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{durable}"
        yield f"$JS.ACK.{stream}.{durable}.>"


def _of_others(user: str, part: Part) -> Iterator[str]:
    """Consumers that are somebody else's; nobody deletes a durable one, not even its own."""
    for name, its in PARTS.items():
        for stream, durable in its.durables:
            if stream not in part.reads:
                continue
            yield f"$JS.API.CONSUMER.DELETE.{stream}.{durable}"
            if name != user:
                yield f"$JS.API.CONSUMER.CREATE.{stream}.{durable}"
                yield f"$JS.API.CONSUMER.CREATE.{stream}.{durable}.>"
                yield f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
