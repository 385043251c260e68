"""One model version in onnxruntime: loaded from bytes, checked against its manifest, warmed up.

Imports little, since the process of a shadow imports it too.
"""

import functools
import logging
import statistics
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from driftloop.artifacts import onnx_file
from driftloop.artifacts.onnx_file import Limits
from driftloop.artifacts.onnx_file import ModelRefused as ModelRefused

log = logging.getLogger(__name__)

Matrix = NDArray[np.float32]

PROVIDERS: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
MANY: Final = 256
"""Rows of the larger of the two runs whose time is taken."""
TRIALS: Final = 5
TRIAL_SECONDS: Final = 0.05
"""No further trial is begun after so long."""
BASE_BYTES: Final = 128 << 10
BYTES_EACH: Final = 5
"""Memory of a session: measured 4.4 to 5.0 times the file for trees, 2 for layers of weights, and
0.1 MB for a model of no size (onnxruntime 1.31).
"""


class Options(msgspec.Struct, frozen=True):
    """How sessions are made: threads of one run, `provider`: cpu or cuda, and what is accepted."""

    threads: int = 1
    provider: str = "cpu"
    limits: Limits = onnx_file.DEFAULTS


DEFAULTS: Final = Options()


def options_of(accepted: str) -> Options:
    """The options of a shadow: on one thread of the CPU, with limits in JSON (empty: the usual)."""
    limits = msgspec.json.decode(accepted, type=Limits) if accepted else onnx_file.DEFAULTS
    return Options(limits=limits)


class Cost(NamedTuple):
    """Microseconds that a run takes, measured at warm-up: of one row, and of `MANY` rows."""

    one: float
    many: float

    def micros(self, rows: int) -> float:
        """The time of a run of so many rows, on the line through both."""
        return max(self.one, self.one + (self.many - self.one) * (rows - 1) / (MANY - 1))


class Session:
    """Answers (rows, features) float32 with (rows, width) float32, from any thread.

    Raises `ModelRefused` for bytes that may not answer. `provider` is what it runs on, `cost` the
    time of a run, `size` an estimate of its memory (bytes), `used` when it ran last
    (`time.monotonic`).
    """

    def __init__(self, data: bytes, features: int, width: int, options: Options = DEFAULTS) -> None:
        self.features = features
        self.width = width
        self.used = time.monotonic()
        self.size = BASE_BYTES + BYTES_EACH * len(data)
        found = onnx_file.check(data, features, width, options.limits)
        try:
            providers = _providers(options.provider)
            session = ort.InferenceSession(data, _options(options), providers)
        except Exception as error:  # onnxruntime has no common base of its errors
            raise ModelRefused(f"model: onnxruntime cannot load it ({error})") from error
        self.provider = _provider_of(session, options.provider)
        self._input, self._outputs = found.inputs[0].name, [found.answer]
        self._run: Callable[..., Any] = session.run
        self._warm_up()
        self.cost = Cost(self._time(1), self._time(MANY))

    def run(self, matrix: Matrix) -> Matrix:
        """The answers in row order: probabilities of a classifier, values of a regressor."""
        rows = len(matrix)
        if rows == 0:
            return np.empty((0, self.width), dtype=np.float32)
        self.used = time.monotonic()
        answers: Matrix = self._run(self._outputs, {self._input: matrix})[0]
        return answers.reshape(rows, self.width)

    def _warm_up(self) -> None:
        """The first run allocates; here it also proves what the signature only promises."""
        for rows in (1, 2):
            zeros = np.zeros((rows, self.features), dtype=np.float32)
            try:
                answers = self._run(self._outputs, {self._input: zeros})[0]
            except Exception as error:
                raise ModelRefused(f"model: a trial run failed ({error})") from error
            if answers.shape not in ((rows, self.width), (rows,) if self.width == 1 else ()):
                raise ModelRefused(
                    f"model: answers {rows} rows in shape {list(answers.shape)}; "
                    f"accepted: [{rows}, {self.width}]"
                )

    def _time(self, rows: int) -> float:
        """The median time of a run (microseconds), of rows that take many paths through trees."""
        matrix = _varied(rows, self.features)
        try:
            self.run(matrix)
        except Exception:  # a model may take only what is sensible: zeros it has taken before
            matrix = np.zeros_like(matrix)
        taken: list[float] = []
        end = time.perf_counter() + TRIAL_SECONDS
        while len(taken) < TRIALS and (not taken or time.perf_counter() < end):
            began = time.perf_counter()
            try:
                self.run(matrix)
            except Exception as error:
                raise ModelRefused(f"model: a trial of {rows} rows failed ({error})") from error
            taken.append(time.perf_counter() - began)
        return statistics.median(taken) * 1e6


def _varied(rows: int, features: int) -> Matrix:
    """Numbers of both signs and many magnitudes; the same each time."""
    made: Matrix = np.tan(np.arange(1, rows * features + 1) * 0.618).astype(np.float32)
    return made.reshape(rows, features)


def _options(options: Options) -> Any:
    made = ort.SessionOptions()
    made.intra_op_num_threads = options.threads
    made.inter_op_num_threads = 1
    made.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Threads that wait spinning would take the time of the event loop.
    made.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Measured: neither makes a run quicker here, and both keep memory for every batch size.
    made.enable_cpu_mem_arena = made.enable_mem_pattern = False
    made.log_severity_level = 4
    return made


def _providers(wanted: str) -> list[str]:
    """What onnxruntime is to try, the CPU last; raises `ModelRefused` for an unknown name."""
    if wanted not in PROVIDERS:
        accepted = ", ".join(PROVIDERS)
        raise ModelRefused(f"provider: {wanted!r} is not known; accepted: {accepted}")
    names = [PROVIDERS[wanted], PROVIDERS["cpu"]]
    return [name for name in dict.fromkeys(names) if name in ort.get_available_providers()]


def _provider_of(session: Any, wanted: str) -> str:
    used = session.get_providers()
    found = next(name for name, of in PROVIDERS.items() if of == used[0])
    if found != wanted:
        _say_fallback(wanted, found)
    return found


@functools.cache
def _say_fallback(wanted: str, found: str) -> None:
    """Once a process: nothing changes until the next start."""
    offered = ", ".join(ort.get_available_providers())
    log.warning(
        "provider: onnxruntime has no %s here (it offers %s); models run on %s",
        wanted,
        offered,
        found,
    )
