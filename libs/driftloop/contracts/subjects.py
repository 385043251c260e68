"""Subjects and the streams that keep them."""

from typing import Final, Literal

import msgspec

from driftloop.contracts.names import MODEL_NAME, check_model_name

PARTITION: Final = "0"
UNNAMED: Final = "unnamed"
"""Stands for the model in the subject of a dead letter whose own subject names none."""
DAY: Final = 86_400.0

RowState = Literal["received", "valid", "quarantined"]
Lane = Literal["0", "1"]
LIVE: Final[Lane] = "0"
"""Rows of models that are up to date."""
BACKLOG: Final[Lane] = "1"
"""Rows of models that send faster than their rows are handled: they wait for each other only."""
LANES: Final[tuple[Lane, ...]] = (LIVE, BACKLOG)
CHECKS: Final[dict[Lane, str]] = {LIVE: "validation-rows", BACKLOG: "validation-backlog"}
"""The durable consumers of received rows: validation works by them, and how far they are says
whose rows wait."""


Discard = Literal["handled", "nothing", "oldest"]


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """One stream: what it keeps, how long (seconds; 0 is for good) and how much (bytes).

    `discard` is what makes room: the oldest messages that all who read the stream have handled
    (see `bus.room`), nothing, or the oldest whoever has read them. A full stream refuses new
    messages, but for one of the last kind.
    """

    name: str
    subjects: tuple[str, ...]
    max_age: float
    max_bytes: int
    discard: Discard


STREAMS: Final = (
    Stream(
        name="ROWS", subjects=("rows.*.*.*",), max_age=7 * DAY, max_bytes=4 << 30, discard="handled"
    ),
    Stream(
        name="LABELS",
        subjects=("labels.*.received.*",),
        max_age=30 * DAY,
        max_bytes=2 << 30,
        discard="handled",
    ),
    Stream(
        name="SCORED",
        subjects=("scored.*.*",),
        max_age=30 * DAY,
        max_bytes=4 << 30,
        discard="handled",
    ),
    Stream(
        name="OUTCOMES",
        subjects=("outcomes.*.*",),
        max_age=0,
        max_bytes=16 << 30,
        discard="nothing",
    ),
    Stream(name="EVENTS", subjects=("events.>",), max_age=0, max_bytes=2 << 30, discard="nothing"),
    Stream(name="CHAIN", subjects=("chain.*",), max_age=0, max_bytes=512 << 20, discard="nothing"),
    Stream(name="STATS", subjects=("stats.>",), max_age=DAY, max_bytes=256 << 20, discard="oldest"),
    Stream(name="DEAD", subjects=("dead.*.*",), max_age=0, max_bytes=1 << 30, discard="nothing"),
)


def rows(model: str, state: RowState, lane: Lane | Literal["*"] = LIVE) -> str:
    """Subject of rows of `model` in one state of their way through validation, in a lane."""
    return f"rows.{check_model_name(model)}.{state}.{lane}"


def lane_of(subject: str) -> Lane:
    """The lane of a subject of rows: its last token."""
    return BACKLOG if subject.endswith(f".{BACKLOG}") else LIVE


def labels(model: str) -> str:
    """Subject of the labels of `model`."""
    return f"labels.{check_model_name(model)}.received.{PARTITION}"


def scored(model: str) -> str:
    """Subject of rows with the live answer and the shadows' answers."""
    return f"scored.{check_model_name(model)}.{PARTITION}"


def outcomes(model: str) -> str:
    """Subject of scored rows joined with their labels."""
    return f"outcomes.{check_model_name(model)}.{PARTITION}"


def event(model: str, kind: str) -> str:
    """Subject of one kind of control event, for example `events.flights.model.promoted`."""
    return f"events.{check_model_name(model)}.{kind}"


def chain(model: str) -> str:
    """Subject of the digests of a model's control events, each chained to the one before."""
    return f"chain.{check_model_name(model)}"


def stats(kind: str, about: str) -> str:
    """Subject of a measurement about a model or a service."""
    return f"stats.{kind}.{check_model_name(about)}"


def dead(service: str, model: str) -> str:
    """Subject of the messages that `service` could not use; they may be why `model` is no name."""
    return f"dead.{service}.{model if MODEL_NAME.match(model) else UNNAMED}"


def model_of(subject: str) -> str:
    """The model token of a data or event subject (the second), or of a dead letter (the third)."""
    tokens = subject.split(".")
    return tokens[2] if tokens[0] == "dead" else tokens[1]
