"""What is asked of shadows and what is taken; their processes are in integration/test_shadows."""

import asyncio
from typing import cast

import numpy as np
from prometheus_client import REGISTRY

from driftloop.inference.shadow import Down, Shadow
from driftloop.inference.shadows import LATE_IN_A_ROW, ShadowAnswers, begin, finish
from tests.support.tiny_models import Matrix, manifest, rows, spec

SPEC = spec()
FAR = 60.0


class Cued:
    """A shadow whose answers come when the test says so."""

    def __init__(self) -> None:
        self.manifest = manifest(5, b"")
        self.state = "up"
        self.late = 0
        self.jobs: list[asyncio.Future[Matrix]] = []

    def begin(self, matrix: Matrix) -> asyncio.Future[Matrix] | None:
        if self.state != "up" or (self.jobs and not self.jobs[-1].done()):
            return None
        self.jobs.append(asyncio.get_running_loop().create_future())
        return self.jobs[-1]

    def answer(self, count: int = 3, width: int = 2, value: float = 0.5) -> None:
        self.jobs[-1].set_result(np.full((count, width), value, dtype=np.float32))


def dropped(reason: str) -> float:
    labels = {"model": "flights", "reason": reason}
    return REGISTRY.get_sample_value("driftloop_shadow_dropped_rows_total", labels) or 0.0


def ask(
    shadow: Cued, limit: float = FAR, count: int = 3, features: int = 3
) -> asyncio.Task[ShadowAnswers]:
    """A question under way."""
    deadline = asyncio.get_running_loop().time() + limit
    begun = begin([cast("Shadow", shadow)], SPEC, rows(count, 0, features))
    return asyncio.ensure_future(finish(begun, SPEC, count, deadline))


async def test_a_shadow_answers() -> None:
    shadow = Cued()
    asked = ask(shadow)
    shadow.answer()
    ((version, answers),) = await asked
    assert version == 5
    assert answers is not None
    np.testing.assert_array_equal(answers, np.full((3, 2), 0.5))


async def test_a_busy_shadow_is_not_waited_for() -> None:
    shadow, before = Cued(), dropped("busy")
    assert await ask(shadow, limit=0.0) == [(5, None)]
    assert await ask(shadow) == [(5, None)]
    assert (len(shadow.jobs), dropped("busy") - before) == (1, 3)


async def test_a_shadow_that_is_down_is_not_waited_for() -> None:
    shadow, before = Cued(), dropped("down")
    shadow.state = "down"
    assert await ask(shadow) == [(5, None)]
    assert dropped("down") - before == 3


async def test_after_some_late_batches_nobody_waits_until_an_answer_is_in_time() -> None:
    shadow, before = Cued(), dropped("late")
    for _ in range(LATE_IN_A_ROW):
        assert await ask(shadow, limit=0.0) == [(5, None)]
        shadow.answer()
        await asyncio.sleep(0)
    assert await ask(shadow) == [(5, None)]
    assert dropped("late") - before == 3 * (LATE_IN_A_ROW + 1)
    shadow.answer()
    await asyncio.sleep(0)
    assert shadow.late == 0
    asked = ask(shadow)
    await asyncio.sleep(0)
    assert not asked.done(), "it is not waited for although it was in time"
    shadow.answer()
    assert (await asked)[0][1] is not None


async def test_an_answer_after_its_deadline_does_not_count_as_in_time() -> None:
    shadow = Cued()
    assert await ask(shadow, limit=0.0) == [(5, None)]
    shadow.answer()
    await asyncio.sleep(0)
    assert shadow.late == 1


async def test_a_failed_run_and_an_end_of_the_process_are_counted_apart() -> None:
    shadow, failed, down = Cued(), dropped("failed"), dropped("down")
    for error in (RuntimeError("broken"), Down("killed")):
        asked = ask(shadow)
        shadow.jobs[-1].set_exception(error)
        assert await asked == [(5, None)]
    assert (dropped("failed") - failed, dropped("down") - down) == (3, 3)


async def test_answers_of_no_use_are_null() -> None:
    shadow, shape, finite = Cued(), dropped("shape"), dropped("not_finite")
    asked = ask(shadow)
    shadow.answer(width=3)
    assert await asked == [(5, None)]
    asked = ask(shadow)
    shadow.answer(value=float("nan"))
    assert await asked == [(5, None)]
    assert (dropped("shape") - shape, dropped("not_finite") - finite) == (3, 3)


async def test_a_shadow_of_another_spec_is_not_asked() -> None:
    shadow, before = Cued(), dropped("misfit")
    assert await ask(shadow, features=4) == [(5, None)]
    assert (shadow.jobs, dropped("misfit") - before) == ([], 3)
