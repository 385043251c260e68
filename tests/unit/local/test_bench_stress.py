import json
from pathlib import Path

import numpy as np
import pytest

from driftloop.artifacts.onnx_file import Limits
from driftloop.cli.bench import show_stress
from driftloop.inference.session import Options, Session
from driftloop.local.bench.bodies import Requests
from driftloop.local.bench.models import Fitted
from driftloop.local.bench.stress import faulty, hostile
from driftloop.local.bench.stress.counters import grown, grown_by
from driftloop.local.bench.stress.counting import Checks, Counting
from driftloop.local.bench.stress.job import Slice, whole
from driftloop.local.bench.stress.overload import back, usual
from driftloop.local.bench.stress.results import P50, P99, Condition, Visit, of_tally, result
from driftloop.local.bench.stress.run import SCENES
from driftloop.local.bench.stress.stage import APART, chosen_rows
from driftloop.local.bench.workloads import FEATURES, WORKLOADS

Matrix = np.ndarray[tuple[int, int], np.dtype[np.float32]]


def visit(p50: float, p99: float, failed: int = 0, problem: str = "") -> Visit:
    problems = [problem] if problem else []
    return Visit(figures={P50: p50, P99: p99}, counts={"failed": failed}, problems=problems)


def test_stressed_figures_are_compared_with_the_steady_ones_of_the_same_repeat() -> None:
    # The machine is twice as slow in the second repeat; the stress costs half as much again.
    visits = {
        "steady": [visit(1.0, 4.0), visit(2.0, 8.0), visit(1.0, 4.0)],
        "stressed": [visit(1.5, 8.0, 1), visit(3.0, 16.0), visit(1.5, 9.0, 2)],
    }
    conditions = [Condition("steady"), Condition("stressed", "steady")]
    steady, stressed = result(WORKLOADS["swaps"], conditions, visits, {}, []).lines
    assert steady.ratios == {}
    assert stressed.ratios == {P50: 1.5, P99: 2.0}
    assert stressed.figures == {P50: 1.5, P99: 9.0}
    assert stressed.counts == {"failed": 3}


def test_steady_and_stressed_figures_stand_side_by_side(
    capsys: pytest.CaptureFixture[str],
) -> None:
    visits = {"steady": [visit(1.0, 4.0)], "stressed": [visit(1.5, 8.0, 3, "status 500")]}
    conditions = [Condition("steady"), Condition("stressed", "steady")]
    show_stress(result(WORKLOADS["swaps"], conditions, visits, {"RSS MB in the end": 9.0}, []))
    out, err = capsys.readouterr()
    rows = [line.rsplit(maxsplit=2) for line in out.splitlines()]
    for row in (
        ["steady", "stressed"],
        ["p99 ms", "4", "8"],
        ["p99 ratio", "-", "2.00"],
        ["failed", "0", "3"],
    ):
        assert row in rows
    assert "RSS MB in the end: 9.0" in out
    assert "status 500" in err


def test_each_problem_is_told_once() -> None:
    visits = {"steady": [visit(1, 1, 1, "status 500"), visit(1, 1, 1, "status 500"), visit(1, 1)]}
    made = result(WORKLOADS["swaps"], [Condition("steady")], visits, {}, ["more"])
    assert made.problems == ["status 500", "more"]


def test_each_stress_workload_has_a_scene_whose_conditions_are_compared_with_one_of_it() -> None:
    assert set(SCENES) == {one.name for one in WORKLOADS.values() if one.kind == "stress"}
    for scene in SCENES.values():
        names = [condition.name for condition in scene.conditions]
        assert len(set(names)) == len(names)
        assert {condition.of for condition in scene.conditions} <= {"", *names}


EXPECTED = np.array([[[[0.9, 0.1]], [[0.2, 0.8]]], [[[0.4, 0.6]], [[0.3, 0.7]]]], np.float32)
"""Two versions, two requests of one row."""


@pytest.fixture
def checks(tmp_path: Path) -> Checks:
    np.save(tmp_path / "expected.npy", EXPECTED)
    return Checks(str(tmp_path / "expected.npy"))


def answer(version: object, *numbers: float) -> bytes:
    outputs = [{"name": "predictions", "data": ["0"]}, {"name": "p", "data": numbers}]
    return json.dumps({"model_version": str(version), "outputs": outputs}).encode()


def test_an_answer_is_of_the_version_it_names_or_of_none(checks: Checks) -> None:
    assert checks.version(0, answer(1, 0.9, 0.1)) == 1
    assert checks.version(1, answer(2, 0.30005, 0.69995)) == 2
    assert checks.version(0, answer(2, 0.9, 0.1)) == 0
    assert checks.version(1, answer(1, 0.9, 0.1)) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        answer(3, 0.9, 0.1),
        answer(0, 0.4, 0.6),
        answer("x", 0.9, 0.1),
        answer(1),
        answer(1, 0.9),
        answer(1, 0.9, 0.1, 0.0),
        answer(1, float("nan"), 0.1),
    ],
)
def test_what_is_no_answer_is_of_no_version(checks: Checks, body: bytes) -> None:
    assert checks.version(0, body) == 0


def test_what_may_not_be_given_is_a_failure_with_its_reason(checks: Checks) -> None:
    made = Counting(checks, [], frozenset({503}))
    made.answered(0, made.began, 0.001, 200, b"", answer(1, 0.9, 0.1))
    made.answered(0, made.began, 0.002, 200, b"", answer(2, 0.9, 0.1))
    made.answered(0, made.began, 0.003, 503, b"\r\nretry-after: 1\r\n", b"")
    made.answered(0, made.began, 0.003, 503, b"\r\n", b"")
    made.answered(0, made.began, 0.003, 500, b"\r\n", b"")
    made.lost(0, "gone")
    made.stop()
    tally = made.tally(slices=True)
    assert (tally.answered, tally.wrong, tally.failed) == (1, 1, 3)
    assert tally.statuses == {"request": {200: 2, 503: 2, 500: 1, 0: 1}}
    assert tally.versions == {1: 1}
    assert tally.p99_ms == pytest.approx(1.0)
    assert tally.refused_p99_ms == pytest.approx(3.0)
    assert (tally.slices[0].answered, tally.slices[0].refused) == (1, 3)
    assert of_tally(tally).problems == ["no answer to request: gone"]


def part(p99_ms: float, answered: int = 10, refused: int = 0) -> Slice:
    return Slice(p99_ms=p99_ms, answered=answered, refused=refused)


def test_it_is_steady_again_with_the_first_tenth_of_a_second_that_is_as_before() -> None:
    known = usual([part(float(n)) for n in range(1, 11)] + [part(0.0, answered=0)])
    assert known == 10.0
    after = [part(90.0), part(4.0, refused=1), part(0.0, answered=0), part(10.0), part(1.0)]
    assert back(after, known) == pytest.approx(0.4)
    assert back(after[:3], known) is None


def test_counters_grow_by_what_came_since_by_label() -> None:
    before = {"rows": [({"model": "m", "reason": "late"}, 3.0)]}
    after = {
        "rows": [
            ({"model": "m", "reason": "late"}, 5.0),
            ({"model": "m", "reason": "busy"}, 7.0),
            ({"model": "other", "reason": "busy"}, 1.0),
        ]
    }
    assert grown_by("rows", "reason", before, after) == {"busy": 8, "late": 2}
    assert grown("rows", before, after) == 10
    assert grown("unknown", before, after) == 0


def model_of(first: list[float], answers: list[float]) -> Fitted:
    rows = np.zeros((len(first), FEATURES))
    rows[:, 0] = first
    p = np.array(answers, np.float32)
    return Fitted(name="m", path=Path(), rows=rows, answers=np.stack([p, 1 - p], axis=1))


def test_rows_are_sent_that_tell_every_version_from_every_other() -> None:
    first = [-1.0, -2.0, 3.0, -4.0, -5.0]
    near = 0.5 + APART / 2
    one = model_of(first, [0.5, 0.5, 0.5, 0.5, 0.5])
    two = model_of(first, [0.1, near, 0.1, 0.1, 0.1])
    three = model_of(first, [0.9, 0.9, 0.9, 0.9, 0.1])
    rows, expected = chosen_rows([one, two, three], 2, 1)
    assert rows[:, 0, 0].tolist() == [-1.0, -4.0]
    assert expected[:, :, 0, 0].tolist() == pytest.approx(
        np.array([[0.5] * 2, [0.1] * 2, [0.9] * 2])
    )
    with pytest.raises(RuntimeError, match="2 of 3 tell the versions apart"):
        chosen_rows([one, two, three], 3, 1)


def rows_of(first: float, count: int = 3) -> Matrix:
    matrix: Matrix = np.zeros((count, FEATURES), dtype=np.float32)
    matrix[:, 0] = first
    return matrix


@pytest.mark.parametrize("model", [faulty.slow(100), faulty.raises(), faulty.leaks()])
def test_a_faulty_model_loads_and_answers_rightly_while_nothing_is_wrong(model: bytes) -> None:
    session = Session(model, FEATURES, 2, Options(limits=Limits(operators=("Loop",))))
    p = 1 / (1 + np.exp(-2.0))
    np.testing.assert_allclose(session.run(rows_of(2.0)), [[p, 1 - p]] * 3, atol=1e-6)


def test_a_failing_model_fails_where_the_first_feature_of_every_row_is_negative() -> None:
    session = Session(faulty.raises(), FEATURES, 2)
    with pytest.raises(Exception, match="out of data bounds"):
        session.run(rows_of(-1.0))
    assert len(session.run(np.concatenate([rows_of(-1.0), rows_of(1.0)]))) == 6


def test_a_slow_model_takes_as_many_turns_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # The clock says that the trial's turns took a quarter of the wanted time.
    told = iter([0.0, faulty.SLOW_SECONDS / 4])
    monkeypatch.setattr("driftloop.local.bench.stress.faulty.time.process_time", lambda: next(told))
    asked: list[int] = []

    def make(turns: int) -> bytes:
        asked.append(turns)
        return faulty.slow(turns)

    assert faulty.calibrated(make) == faulty.slow(4 * faulty.TRIAL_TURNS)
    assert asked == [faulty.TRIAL_TURNS, 4 * faulty.TRIAL_TURNS]


def test_a_request_is_whole_as_it_goes_over_the_line() -> None:
    made = whole("h:1", "/p", Requests(headers={"A": "b"}, bodies=[b"xy", b""]))
    assert made[0] == b"POST /p HTTP/1.1\r\nHost: h:1\r\nA: b\r\nContent-Length: 2\r\n\r\nxy"
    assert made[1].endswith(b"Content-Length: 0\r\n\r\n")


def test_hostile_requests_are_all_different_and_one_is_large() -> None:
    made = hostile.requests("h:1", "m")
    assert len(set(made.values())) == len(made) > 10
    assert len(made["1 MB nested"]) > 1 << 20
