"""The page about streams, subjects, requests and headers."""

import inspect
from collections.abc import Iterator
from typing import Final

import msgspec

from driftloop.cli.reference.source import cell, code, fields, summary, table
from driftloop.contracts import headers, requests, stats, subjects, tokens
from driftloop.contracts.codec import STAT_TYPES

MODEL: Final = "flights"
PAYLOADS: Final = {"EVENTS": "MessagePack", "STATS": "MessagePack", "DEAD": "the original message"}
ROOM: Final = {
    "handled": "the oldest that all have handled, else it refuses",
    "nothing": "nothing: it refuses",
    "oldest": "the oldest",
}
REQUESTS: tuple[type[msgspec.Struct], ...] = (
    requests.SqlQuery,
    requests.Accepted,
    requests.Command,
    requests.LetterOrder,
    requests.Done,
    requests.PredictRequest,
    requests.Prediction,
    tokens.Token,
    tokens.Revoke,
    tokens.TokenList,
)


def page() -> Iterator[str]:
    """`subjects.md`."""
    yield from ("# Streams, subjects and requests", "## Streams", "")
    yield from table(
        ("stream", "subjects", "payload", "kept for", "at most", "room is made of"), _streams()
    )
    yield from ("", "## Subjects", "", f"Examples are of the model `{MODEL}`, partition 0.", "")
    yield from table(("subject", "what goes there"), _subjects())
    yield from ("", "## Requests", "", "Over core NATS, with a queue group a service.", "")
    yield from table(("subject", "what is asked and answered"), _requests())
    for struct in REQUESTS:
        yield from _struct(struct)
    yield from ("", "## Measurements", "", summary(stats), "")
    for stat in STAT_TYPES:
        yield from _struct(stat, f"`{subjects.stats(stat.kind, 'about')}`: ")
    yield from ("", "## Headers", "", summary(headers), "")
    yield from table(("header", "example"), _headers())


def _streams() -> list[tuple[str, ...]]:
    return [
        (
            code(stream.name),
            ", ".join(code(s) for s in stream.subjects),
            PAYLOADS.get(stream.name, "Arrow IPC"),
            _kept(stream.max_age),
            f"{stream.max_bytes / (1 << 20):,.0f} MiB",
            ROOM[stream.discard],
        )
        for stream in subjects.STREAMS
    ]


def _kept(seconds: float) -> str:
    days = f"{seconds / subjects.DAY:g}"
    return "ever" if not seconds else f"{days} day{'s' * (days != '1')}"


def _subjects() -> list[tuple[str, ...]]:
    states: tuple[subjects.RowState, ...] = ("received", "valid", "quarantined")
    made = [(subjects.rows(MODEL, state), f"{summary(subjects.rows)}") for state in states]
    made += [
        (subjects.labels(MODEL), summary(subjects.labels)),
        (subjects.scored(MODEL), summary(subjects.scored)),
        (subjects.outcomes(MODEL), summary(subjects.outcomes)),
        (subjects.event(MODEL, "model.promoted"), summary(subjects.event)),
        (subjects.stats("evidence", MODEL), summary(subjects.stats)),
        (subjects.dead("trainer", MODEL), summary(subjects.dead)),
    ]
    return [(code(subject), cell(text)) for subject, text in made]


def _requests() -> list[tuple[str, ...]]:
    after = inspect.getsource(requests).partition("QUERY_SQL: Final")[2]
    return [
        (code(requests.QUERY_SQL), cell(" ".join(after.split('"""')[1].split()))),
        (code(requests.infer(MODEL)), cell(summary(requests.infer))),
        (code(requests.send(MODEL, "rows")), cell(summary(requests.send))),
        (code(requests.command(MODEL)), cell(summary(requests.command))),
        (code(requests.dead("replay")), cell(summary(requests.dead))),
        (code(requests.redeliver("validation-rows")), cell(summary(requests.redeliver))),
        (", ".join(map(code, tokens.SUBJECTS)), cell(summary(tokens.ask))),
    ]


def _struct(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    yield from ("", f"### {struct.__name__}", "", prefix + summary(struct), "")
    yield from table(("field", "type"), [(code(f.name), code(f.type)) for f in fields(struct)])


def _headers() -> list[tuple[str, ...]]:
    """Headers as they are set, with what is minted at random shown by its form."""
    origin = headers.Origin(correlation="run-0123456789ab", causation="drift.detected:...")
    made = headers.headers(
        kind="model.promoted",
        source="registry",
        subject=MODEL,
        msg_id="model.promoted:flights:run-0123456789ab",
        content_type=headers.MSGPACK,
        origin=origin,
    )
    made["ce-time"] = "2013-02-08T06:00:00.000+00:00"
    made["traceparent"] = "00-(32 hexadecimal)-(16 hexadecimal)-00"
    made[headers.ROWS] = "256"
    made[headers.TOTAL] = "120000"
    made[headers.INPUT] = "SCORED:8812"
    return [(code(name), cell(text)) for name, text in sorted(made.items())]
