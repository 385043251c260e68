import asyncio
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from prometheus_client import REGISTRY

from driftloop.inference.shadow import Shadow
from driftloop.inference.shadows import ShadowAnswers, begin, finish
from tests.support.tiny_models import Matrix, manifest, rows, spec

SPEC = spec()


class Faulty:
    """A session that does on cue what a broken model does."""

    def __init__(self) -> None:
        self.hold = threading.Event()
        self.hold.set()
        self.error: Exception | None = None
        self.value = 0.5
        self.runs = 0

    def run(self, matrix: Matrix) -> Matrix:
        self.runs += 1
        assert self.hold.wait(10)
        if self.error is not None:
            raise self.error
        return np.full((len(matrix), 2), self.value, dtype=np.float32)


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    made = Faulty()
    yield made
    made.hold.set()


@pytest.fixture
def shadow(faulty: Faulty) -> Iterator[Shadow]:
    made = Shadow(manifest(5, b""), faulty)
    yield made
    made.close()


def dropped(reason: str) -> float:
    labels = {"model": "flights", "version": "5", "reason": reason}
    return REGISTRY.get_sample_value("driftloop_shadow_dropped_rows_total", labels) or 0.0


async def ask(
    shadow: Shadow, count: int = 3, limit: float = 5.0, features: int = 3
) -> ShadowAnswers:
    deadline = asyncio.get_running_loop().time() + limit
    begun = begin([shadow], SPEC, rows(count, 0, features))
    return await finish(begun, SPEC, count, deadline)


async def test_a_shadow_answers(shadow: Shadow) -> None:
    for _ in range(3):
        ((version, answers),) = await ask(shadow)
        assert version == 5
        assert answers is not None
        np.testing.assert_array_equal(answers, np.full((3, 2), 0.5))


async def test_a_sleeping_shadow_is_waited_for_once_and_then_skipped(
    shadow: Shadow, faulty: Faulty
) -> None:
    late, busy = dropped("late"), dropped("busy")
    faulty.hold.clear()
    began = time.monotonic()
    assert await ask(shadow, limit=0.05) == [(5, None)]
    assert 0.04 < time.monotonic() - began < 1.0
    began = time.monotonic()
    assert await ask(shadow, limit=5.0) == [(5, None)]
    assert time.monotonic() - began < 1.0, "a busy shadow was waited for"
    assert (dropped("late") - late, dropped("busy") - busy) == (3, 3)
    assert faulty.runs == 1, "the queue of a busy shadow grew"


async def test_a_shadow_that_was_late_answers_again_when_it_is_free(
    shadow: Shadow, faulty: Faulty
) -> None:
    faulty.hold.clear()
    assert await ask(shadow, limit=0.01) == [(5, None)]
    faulty.hold.set()
    for _ in range(500):
        if (await ask(shadow))[0][1] is not None:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the shadow never became free")


async def test_a_raising_shadow_is_null_and_goes_on(shadow: Shadow, faulty: Faulty) -> None:
    before = dropped("failed")
    faulty.error = RuntimeError("broken")
    assert await ask(shadow) == [(5, None)]
    faulty.error = None
    assert (await ask(shadow))[0][1] is not None
    assert dropped("failed") - before == 3


async def test_a_shadow_that_answers_no_numbers_is_null(shadow: Shadow, faulty: Faulty) -> None:
    before = dropped("not_finite")
    faulty.value = float("nan")
    assert await ask(shadow) == [(5, None)]
    assert dropped("not_finite") - before == 3


async def test_a_shadow_of_another_spec_is_not_asked(shadow: Shadow, faulty: Faulty) -> None:
    before = dropped("misfit")
    assert await ask(shadow, features=4) == [(5, None)]
    assert (faulty.runs, dropped("misfit") - before) == (0, 3)


async def test_a_closed_shadow_takes_nothing_more(shadow: Shadow, faulty: Faulty) -> None:
    shadow.close()
    assert await ask(shadow) == [(5, None)]
    assert faulty.runs == 0
