"""The offline gate: loads the candidate and its holdout, and has them judged."""

import io
import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from driftloop.artifacts import signing
from driftloop.artifacts.onnx_file import Limits, check
from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.contracts import subjects
from driftloop.contracts.batches import Matrix, matrix_of
from driftloop.contracts.errors import Reject
from driftloop.contracts.events import (
    AnyEvent,
    CandidateApproved,
    CandidateRejected,
    CandidateTrained,
    Dataset,
    Gate,
)
from driftloop.contracts.headers import Origin
from driftloop.contracts.names import digest
from driftloop.modelspec import durations
from driftloop.modelspec.spec import Spec
from driftloop.runtime.child import ChildFailed, Children
from driftloop.validation.domain import offline
from driftloop.validation.domain.offline import Case, Measured

PRELOAD = ("driftloop.validation.scoring",)


class OfflineGate:
    """Judges candidates on their holdouts."""

    def __init__(self, bus: Bus, accepted: Limits) -> None:
        self._bus = bus
        self._accepted = accepted
        self._artifacts = Artifacts(bus)
        self._children = Children(PRELOAD)

    async def close(self) -> None:
        """Leave a judgement that is under way to our successor."""
        await self._children.close()

    async def on_candidate(self, event: CandidateTrained, _: Origin) -> Sequence[AnyEvent]:
        """Approve or reject a candidate, with every gate's number and bound.

        One that the trainer did not sign is left to the registry, which says so: a verdict on it
        would be taken for one on the true candidate of the run.
        """
        proved = event.manifest, event.manifest_sha256, event.signature
        if signing.manifest_problem(self._bus.trust, *proved):
            return []
        started = time.perf_counter()
        spec = (await self._bus.spec(event.model)).spec
        try:
            gates = offline.judge(spec, await self._case(spec, event))
            why = offline.reason(gates)
        except (ChildFailed, Reject, ValueError) as error:
            gates = (Gate(name="runs", value=0.0, bound=1.0, passed=False, detail=str(error)),)
            why = f"runs: the candidate could not be judged: {error}"
        seconds = time.perf_counter() - started
        if why:
            return [
                CandidateRejected(
                    model=event.model,
                    data_time=event.data_time,
                    run=event.run,
                    version=event.version,
                    gates=gates,
                    reason=f"offline gate: {why}",
                    seconds=seconds,
                )
            ]
        return [
            CandidateApproved(
                model=event.model,
                data_time=event.data_time,
                run=event.run,
                version=event.version,
                gates=gates,
                seconds=seconds,
            )
        ]

    async def _case(self, spec: Spec, event: CandidateTrained) -> Case:
        manifest = event.manifest
        holdout = await self._holdout(event.model, manifest.holdout)
        features = np.concatenate([matrix_of(b.column("features")) for b in holdout])
        reference = await self._artifacts.get(manifest.holdout_answers_sha256)
        return Case(
            manifest=manifest,
            features=features,
            labels=pa.chunked_array([b.column("label") for b in holdout]).to_numpy(),
            reference=np.load(io.BytesIO(reference), allow_pickle=False),
            measured=await self._measure(spec, manifest.model_sha256, features),
            served=np.concatenate([_served(b, spec.width) for b in holdout]),
        )

    async def _holdout(self, model: str, dataset: Dataset) -> list[pa.RecordBatch]:
        """The holdout, read from the log and proved by its digest."""
        subject = subjects.outcomes(model)
        messages = [
            m
            async for m in self._bus.log.range(
                dataset.stream, subject, dataset.first_seq, dataset.last_seq
            )
        ]
        if digest(b"".join(m.payload for m in messages)) != dataset.sha256:
            raise Reject(f"holdout: the log's rows have another digest; accepted: {dataset.sha256}")
        return [m.batch() for m in messages]

    async def _measure(self, spec: Spec, sha256: str, features: Matrix) -> Measured:
        model = await self._artifacts.get(sha256)
        limit = durations.seconds(spec.limits.stage_deadline) / 2
        edges = offline.edge_inputs(spec, features[:1])
        its = features, edges, spec.width, self._accepted
        return await self._children.run(limit, _measure, model, *its)


def _served(batch: pa.RecordBatch, width: int) -> Matrix:
    """The live answers of a batch, NaN for rows without one or of another width."""
    answers = batch.column("answer")
    if answers.type.list_size != width:
        return np.full((batch.num_rows, width), np.nan, dtype=np.float32)
    return matrix_of(answers)


def _measure(
    model: bytes, features: Matrix, edges: Matrix, width: int, accepted: Limits
) -> Measured:
    """Runs in the child: a model that hangs or crashes takes nobody with it."""
    check(model, features.shape[1], width, accepted)
    from driftloop.validation.scoring import measure

    return measure(model, features, edges)
