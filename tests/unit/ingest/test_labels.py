from typing import Any

import pyarrow as pa
import pytest

from driftloop.contracts.batches import LABELS
from driftloop.contracts.errors import InvalidInput
from driftloop.ingest.domain.labels import labels
from driftloop.modelspec.check import from_dict
from driftloop.modelspec.rows import from_dicts
from driftloop.modelspec.spec import Spec

NOW = 1_704_067_200_000


def spec(*classes: str) -> Spec:
    made: dict[str, Any] = {
        "name": "m",
        "task": "classification" if classes else "regression",
        "target": {"name": "late", "classes": list(classes)},
        "columns": {"event_id": "flight"},
        "features": [{"name": "hour"}],
    }
    return from_dict(made)


def written(value: Any, *classes: str) -> Any:
    made = labels(spec(*classes), from_dicts([{"event_id": "a", "label": value}]), NOW)
    assert made.schema.equals(LABELS)
    return made.column("label")[0].as_py()


@pytest.mark.parametrize("value", [1, 1.0, True, "1", "1.0", "true", "True", " 1 "], ids=repr)
def test_a_label_is_written_as_its_class(value: object) -> None:
    assert written(value, "0", "1") == "1"


@pytest.mark.parametrize("value", [True, "true", "TRUE"], ids=repr)
def test_a_boolean_is_written_as_the_class_it_reads_as(value: object) -> None:
    assert written(value, "false", "true") == "true"
    assert written(value, "False", "True") == "True"


def test_a_class_is_matched_exactly_before_anything_else() -> None:
    assert written("1.0", "1.0", "1") == "1.0"
    assert written("Late", "late", "Late") == "Late"


def test_what_is_no_class_is_left_to_the_join() -> None:
    assert written("maybe", "0", "1") == "maybe"
    assert written(2.5, "0", "1") == "2.5"
    assert written("inf", "0", "1") == "inf"


def test_a_number_to_predict_is_written_as_it_is() -> None:
    assert written(12.5) == "12.5"
    assert written(3.0) == "3"
    assert written("1e3") == "1e3"


def test_columns_may_be_named_as_in_the_rows_and_other_columns_of_rows_are_ignored() -> None:
    given = from_dicts([{"flight": 7, "late": 1, "hour": 3, "event_time": NOW}])
    (label,) = labels(spec("0", "1"), given, NOW).to_pylist()
    assert (label["event_id"], label["label"]) == ("7", "1")


def test_a_label_without_a_time_became_known_now() -> None:
    given = from_dicts(
        [
            {"event_id": "a", "label": 1, "label_time": None},
            {"event_id": "b", "label": 1, "label_time": "2023-01-01"},
        ]
    )
    times = labels(spec(), given, NOW).column("label_time").cast(pa.int64()).to_pylist()
    assert times == [NOW, 1_672_531_200_000]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (
            [{"event_id": "a", "label": 1}, {"event_id": "b", "label": None}],
            r"labels\[11\]: label: ",
        ),
        ([{"event_id": "a", "label": 1}, {"label": 1}], r"labels\[11\]: event_id: "),
        ([{"event_id": "a" * 257, "label": 1}], r"labels\[10\]: event_id: 'aaa.* is too long"),
        ([{"event_id": "a"}], r"label is missing; accepted: event_id, label, label_time"),
        ([{"event_id": "a", "label": 1, "x": 1}], "the column 'x' is unknown; accepted: event_id"),
        ([{"event_id": "a", "label": 1, "label_time": "?"}], r"labels\[10\]: label_time: '\?' is"),
    ],
)
def test_a_label_that_lacks_something_is_told_by_its_index(
    rows: list[dict[str, Any]], told: str
) -> None:
    with pytest.raises(InvalidInput, match=told):
        labels(spec(), from_dicts(rows), NOW, first=10)
