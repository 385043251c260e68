"""Requests that want an answer: subjects, questions and answers (MessagePack unless said)."""

from typing import Final, Literal

import msgspec

from driftloop.contracts.names import check_model_name
from driftloop.contracts.operators import Asked

QUERY_SQL: Final = "query.sql"
"""A `SqlQuery`; the answer is an Arrow IPC stream. Owner: telemetry."""

OPERATE_DEAD: Final = "operate.dead.*"
"""A `LetterOrder`; answered with `Done`. The last token is `replay` or `drop`. Owner: registry."""

REDELIVER_SECONDS: Final = 100.0
"""How long a consumer may work on a dead letter before it is asked again."""

BATCH_ID: Final = "dl-batch"
"""Header of a send request: the producer's id of the batch; sending it again stores it once."""


def infer(model: str) -> str:
    """Predict: rows by name as JSON, MessagePack or Arrow by `content-type`. Owner: inference."""
    return f"infer.{check_model_name(model)}"


def send(model: str, what: Literal["rows", "labels"]) -> str:
    """Send Arrow rows or labels; `Accepted` once the log has them. Owner: ingest."""
    return f"ingest.{check_model_name(model)}.{what}"


def command(model: str) -> str:
    """A `Command` about a model; answered with `Done`. Owner: registry."""
    return f"command.{check_model_name(model)}"


def dead(verb: Literal["replay", "drop"]) -> str:
    """A `LetterOrder`: give a dead letter back to its consumer, or give it up. Owner: registry."""
    return f"operate.dead.{verb}"


def redeliver(consumer: str) -> str:
    """A dead letter to the consumer that could not use it, as it lies in DEAD; answered with an
    empty message when it was handled. Asked by the registry. Owner: who has the consumer.
    """
    return f"redeliver.{consumer}"


class SqlQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A read-only SQL statement over the telemetry tables, at most `max_rows` rows."""

    sql: str
    max_rows: int = 100_000


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """Rows the log has: `duplicate` of them it had already."""

    accepted: int
    duplicate: int
    batch: str


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator wants of the registry.

    `spec` is a msgpack `Spec` for `register`, and `revision` the one it was edited from: if another
    came first, it is refused as `Outdated` (None: it takes the place of any). `silence` is about
    the alarms of a `detector` (empty: all of the model), for so many `seconds` (0: no longer).
    """

    command: Literal["register", Asked]
    by: str
    reason: str = ""
    version: int = 0
    spec: bytes = b""
    request: str = ""
    revision: int | None = None
    detector: str = ""
    seconds: float = 0.0


class LetterOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator wants done with the dead letter at sequence `letter` of DEAD."""

    letter: int
    by: str
    reason: str = ""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A command was carried out or started; `text` says what happened, for a person."""

    text: str
    run: str = ""
    revision: int = 0


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """Answers in row order: the class and its probabilities, or the value of a regression."""

    model: str
    version: int
    predictions: list[str | float]
    probabilities: list[dict[str, float]] = []
    event_ids: list[str] = []
    """The event id of each row, by which its label may be sent later."""


class PredictRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Rows by feature name."""

    rows: list[dict[str, bool | int | float | str | None]]
