"""Answers requests: the same for HTTP and NATS, for JSON, MessagePack and Arrow."""

import asyncio
import time
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from driftloop.bus.bus import Bus
from driftloop.contracts import batches
from driftloop.contracts.batches import Matrix
from driftloop.contracts.errors import DriftloopError, InvalidInput, Reject, Retry
from driftloop.contracts.headers import ARROW, MSGPACK
from driftloop.contracts.ipc import refuse_compressed
from driftloop.inference.domain.lineup import misfit
from driftloop.inference.domain.prediction import (
    NoAnswer,
    model_input,
    prediction,
    prediction_batch,
)
from driftloop.inference.run import INLINE_ROWS, run
from driftloop.inference.versions import Champion, Versions
from driftloop.modelspec.contract import Contract
from driftloop.modelspec.rows import from_dicts, lenient_json
from driftloop.modelspec.spec import Registered, Spec
from driftloop.runtime import metrics
from driftloop.runtime.problems import UnsupportedType

JSON: Final = "application/json"
ACCEPTED: Final = (JSON, MSGPACK, ARROW)
INLINE_BYTES: Final = 64 << 10
"""Larger bodies are read in a thread."""

SECONDS: Final = metrics.histogram("predict_seconds", "Time of a request, without the network")
REQUESTS: Final = metrics.counter("predict_requests", "Requests for an answer", ["outcome"])
ROWS: Final = metrics.counter("predict_rows", "Rows answered on request", ["model"])


class Answer(NamedTuple):
    """A body and its content type."""

    body: bytes
    content_type: str


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What answers for a model now; version 0 before the first promotion."""

    model: str
    champion: int
    sha256: str
    shadows: list[int]
    spec_revision: int
    features: list[str]
    classes: list[str]
    problem: str = ""


class Predictor:
    """Rows by name in, answers of the champion out."""

    def __init__(self, bus: Bus, versions: Versions) -> None:
        self._bus = bus
        self._versions = versions
        self._contracts: dict[str, tuple[int, Contract]] = {}

    async def answer(self, model: str, content_type: str, body: bytes) -> Answer:
        """The answer in the format of the question; errors say what is wrong, and are counted."""
        began = time.perf_counter()
        outcome = "bug"
        try:
            answer = await self._answer(model, content_type, body)
            outcome = "answered"
        except DriftloopError as error:
            outcome = type(error).__name__
            raise
        finally:
            REQUESTS.labels(outcome).inc()
            SECONDS.observe(time.perf_counter() - began)
        return answer

    async def describe(self, model: str) -> Description:
        """What answers for a model now."""
        registered = await self._bus.spec(model)
        live = await self._versions.of(model)
        manifest = live.champion.manifest if live.champion else None
        return Description(
            model=model,
            champion=manifest.version if manifest else 0,
            sha256=manifest.model_sha256 if manifest else "",
            shadows=[shadow.manifest.version for shadow in live.shadows],
            spec_revision=registered.revision,
            features=[feature.name for feature in registered.spec.features],
            classes=list(registered.spec.target.classes),
            problem=live.problem,
        )

    async def _answer(self, model: str, content_type: str, body: bytes) -> Answer:
        kind = content_type.partition(";")[0].strip().lower() or JSON
        if kind not in ACCEPTED:
            raise UnsupportedType(
                f"content-type: {kind[:80]!r} is not read here; accepted: {', '.join(ACCEPTED)}"
            )
        registered = await self._bus.spec(model)
        contract = self._contract(registered)
        if len(body) <= INLINE_BYTES:
            matrix = _read(contract, kind, body)
        else:
            matrix = await asyncio.to_thread(_read, contract, kind, body)
        champion = await self._champion(registered.spec)
        try:
            answers = await run(champion.session, matrix)
        except Exception as error:
            version = champion.manifest.version
            raise NoAnswer(f"model: version {version} of {model} failed: {error}") from error
        ROWS.labels(model).inc(len(matrix))
        made = (kind, registered.spec, champion.manifest.version, answers)
        return (
            _write(*made) if len(matrix) <= INLINE_ROWS else await asyncio.to_thread(_write, *made)
        )

    def _contract(self, registered: Registered) -> Contract:
        spec = registered.spec
        revision, contract = self._contracts.get(spec.name, (0, None))
        if contract is None or revision != registered.revision:
            contract = Contract(spec)
            self._contracts[spec.name] = (registered.revision, contract)
        return contract

    async def _champion(self, spec: Spec) -> Champion:
        live = await self._versions.of(spec.name)
        if live.champion is None:
            why = live.problem or f"{spec.name}: no model has been promoted yet"
            raise Retry(f"{why}; try again later", delay=5.0)
        why = misfit(live.champion.manifest, spec)
        if why:
            raise Retry(f"{spec.name}: {why}; a new version has to be trained", delay=30.0)
        return live.champion


def _read(contract: Contract, kind: str, body: bytes) -> Matrix:
    if kind == ARROW:
        refuse_compressed(body)
        return model_input(contract, batches.decode(body))
    decode = msgspec.json.decode if kind == JSON else msgspec.msgpack.decode
    try:
        given = decode(body)
    except msgspec.ValidationError:  # a number beyond every float: the contract names its field
        given = lenient_json(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Reject(f"body: not {kind} ({error}); accepted: rows as objects") from error
    return model_input(contract, from_dicts(_rows(given)))


def _rows(given: Any) -> list[dict[str, Any]]:
    """The rows of `{"rows": [...]}`, `[...]` or one row alone."""
    if isinstance(given, dict):
        rows = given.get("rows")
        given = rows if len(given) == 1 and isinstance(rows, list) else [given]
    if isinstance(given, list):
        if not given:
            raise InvalidInput("rows: there is none; accepted: at least one row")
        odd = next((at for at, row in enumerate(given) if not isinstance(row, dict)), None)
        if odd is None:
            return given
        raise InvalidInput(
            f"row {odd}: {given[odd]!r:.80} is no row; accepted: an object of field and value"
        )
    shown = repr(given)[:80]
    raise InvalidInput(
        f'body: {shown} is not rows; accepted: {{"rows": [...]}}, a list of rows, a row'
    )


def _write(kind: str, spec: Spec, version: int, answers: Matrix) -> Answer:
    if kind == ARROW:
        return Answer(batches.encode(prediction_batch(version, np.asarray(answers))), ARROW)
    made = prediction(spec, version, answers)
    encode = msgspec.json.encode if kind == JSON else msgspec.msgpack.encode
    return Answer(encode(made), kind)
