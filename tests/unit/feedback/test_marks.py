import pytest

from driftloop.feedback.store import ModelJoin
from driftloop.modelspec.spec import Registered
from tests.support.loop import spec


@pytest.mark.parametrize(
    ("total", "mark"),
    [(0, 0), (999, 0), (1_000, 1_000), (2_499, 1_000), (2_500, 2_500), (7_499, 5_000)],
)
def test_marks_are_where_a_first_model_may_be_and_each_so_many_rows(total: int, mark: int) -> None:
    assert joined(min_rows=1_000, new_data_rows=2_500).mark(total) == mark


@pytest.mark.parametrize(
    ("total", "mark"), [(999, 900), (1_000, 1_000), (1_199, 1_000), (1_200, 1_200)]
)
def test_there_may_be_marks_before_a_first_model(total: int, mark: int) -> None:
    assert joined(min_rows=1_000, new_data_rows=300).mark(total) == mark


def joined(min_rows: int, new_data_rows: int) -> ModelJoin:
    made = spec(training={"min_rows": min_rows}, triggers={"new_data_rows": new_data_rows})
    return ModelJoin.new(Registered(spec=made, revision=1, by="", at=0.0))
