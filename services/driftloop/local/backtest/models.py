"""Fits, kept by their content, and the answers of models, computed ahead in large pieces."""

import asyncio
import hashlib
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftloop.contracts.batches import Matrix
from driftloop.inference.session import Session
from driftloop.local.backtest.watch import Stopwatch
from driftloop.modelspec import durations
from driftloop.modelspec.spec import Spec
from driftloop.runtime.child import Children
from driftloop.trainer.tasks import FitResult, FitTask

PIECE: Final = 1_024
"""Rows of one run of a model."""
AHEAD: Final = 8
"""Pieces that are computed before they are asked for, while drift looks at those before: as much
is lost at a change.
"""
MOST_FITS: Final = 256
"""Fits that are kept."""
T = TypeVar("T")

THREADS: Final = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


class Answers:
    """One model's answers to the rows of a world, shape (rows, width), each computed once."""

    def __init__(
        self, session: Session, features: Matrix, pool: ThreadPoolExecutor, watch: Stopwatch
    ) -> None:
        self._session = session
        self._watch = watch
        self._features = features
        self._pool = pool
        self._pieces: dict[int, Future[Matrix]] = {}

    def of(self, rows: slice) -> Matrix:
        """The answers to these rows."""
        first, last = rows.start // PIECE, (rows.stop - 1) // PIECE
        end = min(last + AHEAD, (len(self._features) - 1) // PIECE)
        self._begin(range(first, end + 1), self._pool)
        made = [self._pieces[piece].result() for piece in range(first, last + 1)]
        whole = made[0] if len(made) == 1 else np.concatenate(made)
        return whole[rows.start - first * PIECE : rows.stop - first * PIECE]

    def begin(self, rows: slice, pool: ThreadPoolExecutor) -> None:
        """Have the answers to these rows computed in `pool`: they will be asked for."""
        self._begin(range(rows.start // PIECE, (rows.stop - 1) // PIECE + 1), pool)

    def _begin(self, pieces: range, pool: ThreadPoolExecutor) -> None:
        for piece in pieces:
            if piece not in self._pieces:
                part = self._features[piece * PIECE : (piece + 1) * PIECE]
                self._pieces[piece] = pool.submit(self._watch.beside, self._session.run, part)


class Fits:
    """Fits in a child process, as the trainer does; one of the same content is done once."""

    def __init__(self, watch: Stopwatch) -> None:
        self._children = Children(("driftloop.trainer.fitting",), THREADS)
        self._watch = watch
        self._made: OrderedDict[str, FitResult] = OrderedDict()
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._pool = ThreadPoolExecutor(1, "answers")
        self.background = ThreadPoolExecutor(1, "background")
        """For answers that are not waited for."""

    def close(self) -> None:
        """End what is under way."""
        for pool in (self._pool, self.background):
            pool.shutdown(cancel_futures=True)

    def fit(self, spec: Spec, task: FitTask) -> FitResult:
        """What the fit gives; raises `ChildFailed` when it fails or takes too long."""
        with self._watch.aside():
            name = content(task)
            made = self._made.get(name)
            if made is None:
                limit = durations.seconds(spec.training.time_limit)
                made = asyncio.run(self._in_child(limit, task))
            _keep(self._made, name, made)
            return made

    async def _in_child(self, limit: float, task: FitTask) -> FitResult:
        try:
            return await self._children.run(limit, fit, task)
        except asyncio.CancelledError:  # by Ctrl-C, which must not wait for the fit
            await self._children.close()
            raise

    def run(self, model: bytes, spec: Spec, rows: Matrix) -> Matrix:
        """A model's answers at once; the time counts as that of fits."""
        with self._watch.aside():
            return self._session(model, spec).run(rows)

    def _session(self, model: bytes, spec: Spec) -> Session:
        """The model in onnxruntime, with one thread."""
        name = hashlib.sha256(model).hexdigest()
        made = self._sessions.get(name) or Session(model, len(spec.features), spec.width)
        _keep(self._sessions, name, made)
        return made

    def answers(self, model: bytes, spec: Spec, features: Matrix) -> Answers:
        """The model's answers to rows (rows, features)."""
        return Answers(self._session(model, spec), features, self._pool, self._watch)


def _keep(kept: OrderedDict[str, T], name: str, value: T) -> None:
    kept[name] = value
    kept.move_to_end(name)
    while len(kept) > MOST_FITS:
        kept.popitem(last=False)


def content(task: FitTask) -> str:
    """SHA-256 of all that a fit hangs on: rows, labels, estimator, parameters, seed, windows."""
    arrays = ("features", "labels", "holdout", "holdout_labels")
    plain = {n: getattr(task, n) for n in task.__struct_fields__ if n not in arrays}
    whole = hashlib.sha256(msgspec.json.encode(plain, order="deterministic"))
    for name in arrays:
        values: NDArray[np.generic] = getattr(task, name)
        whole.update(f"{values.shape} {values.dtype}".encode())
        whole.update(np.ascontiguousarray(values).data)
    return whole.hexdigest()


def fit(task: FitTask) -> FitResult:
    """Runs in the child: scikit-learn is imported there."""
    from driftloop.trainer.fitting import fit as fitted

    return fitted(task)
