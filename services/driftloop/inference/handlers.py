"""Scores the stream: valid rows in, the same rows with the champion's and shadows' answers out."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered, Outgoing, derived_message
from driftloop.contracts import subjects
from driftloop.contracts.batches import Matrix, matrix_of
from driftloop.contracts.errors import Reject
from driftloop.inference.core.meters import METERS
from driftloop.inference.domain import scored
from driftloop.inference.domain.lineup import misfit
from driftloop.inference.domain.scored import Input, apart, neighbours, together
from driftloop.inference.run import run
from driftloop.inference.shadows import begin, finish
from driftloop.inference.versions import Champion, Live, Versions
from driftloop.modelspec.spec import Spec
from driftloop.runtime import metrics

log = logging.getLogger(__name__)

SCORED: Final = metrics.counter("scored_rows", "Rows scored", ["model"])
UNANSWERED: Final = metrics.counter(
    "unanswered_rows", "Rows scored with a null answer", ["model", "reason"]
)
NOT_FINITE: Final = metrics.counter(
    "not_finite_rows", "Rows the champion answered with NaN or infinity", ["model"]
)


class Scoring:
    """Scores groups of messages; a group of one model sees one champion."""

    def __init__(self, bus: Bus, versions: Versions, shadow_seconds: float) -> None:
        self._bus = bus
        self._versions = versions
        self._shadow_seconds = shadow_seconds
        self._told: dict[str, str] = {}
        self._shadowed = asyncio.Lock()

    async def score(self, group: Sequence[Delivered]) -> list[Outgoing]:
        """One scored batch for each message, in order; neighbours share a run of the model."""
        batches = [message.batch() for message in group]
        inputs = [
            Input(message.model, _features(batch))
            for message, batch in zip(group, batches, strict=True)
        ]
        await asyncio.gather(*[self._versions.of(model) for model in {i.model for i in inputs}])
        said: list[Outgoing] = []
        for part in neighbours(inputs):
            made = await self._score(batches[part], inputs[part])
            said += map(self._message, group[part], made)
        return said

    def _message(self, cause: Delivered, batch: pa.RecordBatch) -> Outgoing:
        subject = subjects.scored(cause.model)
        return derived_message(subject, batch, kind="scored", source=self._bus.service, cause=cause)

    async def _score(
        self, batches: Sequence[pa.RecordBatch], inputs: Sequence[Input]
    ) -> list[pa.RecordBatch]:
        model, matrix = inputs[0].model, together(inputs)
        spec = (await self._bus.spec(model)).spec
        live = await self._versions.of(model)
        if live.shadows:
            async with self._shadowed:  # a shadow takes one batch at a time
                deadline = asyncio.get_running_loop().time() + self._shadow_seconds
                begun = begin(live.shadows, spec, matrix)
                answers = await self._answer(model, spec, live, matrix)
                shadows = await finish(begun, spec, len(matrix), deadline)
        else:
            answers, shadows = await self._answer(model, spec, live, matrix), []
        SCORED.labels(model).inc(len(matrix))
        version = live.champion.manifest.version if live.champion and answers is not None else None
        columns = [(number, apart(its, inputs)) for number, its in shadows]
        return [
            scored.scored(
                batch, spec.width, version, answer, [(number, its[at]) for number, its in columns]
            )
            for at, (batch, answer) in enumerate(zip(batches, apart(answers, inputs), strict=True))
        ]

    async def _answer(self, model: str, spec: Spec, live: Live, matrix: Matrix) -> Matrix | None:
        """The champion's answers; None, counted, where it has none for these rows."""
        if live.champion is None:
            UNANSWERED.labels(model, "not_loaded" if live.problem else "no_champion").inc(
                len(matrix)
            )
            return None
        why = unfit(live.champion, spec, matrix)
        if why:
            self._tell_once(model, why)
            UNANSWERED.labels(model, "misfit").inc(len(matrix))
            return None
        version = live.champion.manifest.version
        began = time.perf_counter()
        try:
            answers = await run(live.champion.session, matrix)
        except Exception:
            log.exception("%s: champion %d failed on %d rows", model, version, len(matrix))
            UNANSWERED.labels(model, "failed").inc(len(matrix))
            return None
        METERS.busy(model, time.perf_counter() - began)
        if not np.isfinite(answers).all():
            NOT_FINITE.labels(model).inc(int(scored.infinite_rows(answers).sum()))
        return answers

    def _tell_once(self, model: str, why: str) -> None:
        if self._told.get(model) != why:
            self._told[model] = why
            log.error("%s: rows are not answered: %s", model, why)


def unfit(champion: Champion, spec: Spec, matrix: Matrix) -> str:
    """Why the champion cannot answer these rows, or an empty text."""
    width = len(champion.manifest.features)
    if matrix.shape[1] != width:
        return (
            f"version {champion.manifest.version} has {width} features, rows have {matrix.shape[1]}"
        )
    return misfit(champion.manifest, spec)


def _features(batch: pa.RecordBatch) -> Matrix:
    kind = batch.schema.field("features").type if "features" in batch.schema.names else None
    if kind is None or not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float32():
        raise Reject(f"features: is {kind}; accepted: a fixed-size list of float")
    return matrix_of(batch.column("features"))
