from pathlib import Path
from typing import Any

import pytest

from driftloop.modelspec import durations
from driftloop.modelspec.check import SpecError, from_dict, load, parse

GOOD = """
name = "flights"
task = "classification"

[target]
name = "late"
classes = ["0", "1"]

[[features]]
name = "hour"
type = "integer"
min = 0
max = 23

[[features]]
name = "carrier"
type = "category"
categories = ["UA", "AA"]

[[slices]]
name = "united"
feature = "carrier"
value = "UA"
"""


def raw(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": "flights",
        "task": "classification",
        "target": {"name": "late", "classes": ["0", "1"]},
        "features": [{"name": "hour"}],
    }
    return made | changes


def problems(**changes: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        from_dict(raw(**changes))
    return caught.value.problems


def test_a_spec_is_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "flights.toml"
    path.write_text(GOOD)
    spec = load(path)
    assert spec == parse(GOOD)
    assert (spec.name, spec.width, spec.loss) == ("flights", 2, "brier")
    assert [feature.name for feature in spec.features] == ["hour", "carrier"]


def test_what_is_no_toml_is_told() -> None:
    with pytest.raises(SpecError, match=r"Invalid value.*accepted: a TOML document"):
        parse("name = ")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "a.b"}, "name: 'a.b' is not a model name; accepted: 1 to 63 characters"),
        ({"name": "*"}, "name: '*' is not a model name"),
        ({"name": 7}, "name: Expected `str`, got `int` (found 7); accepted:"),
        ({"task": "guess"}, "task: Invalid enum value 'guess'"),
        ({"typo": 1}, "Object contains unknown field `typo`"),
        ({"features": []}, "features: [] is empty; accepted: at least one feature"),
        (
            {"features": [{"name": "x", "tpe": "number"}]},
            "features[0]: Object contains unknown field",
        ),
        ({"features": [{"name": "late"}]}, "features[0].name: 'late' cannot name a feature"),
        (
            {"features": [{"name": "a"}, {"name": "a"}]},
            "features[1].name: 'a' cannot name a feature",
        ),
        (
            {"features": [{"name": "a", "min": 5, "max": 2}]},
            "features[0].min: 5.0 is not below max (2.0); accepted: a min below the max",
        ),
        (
            {"features": [{"name": "a", "type": "category"}]},
            "features[0].categories: [] does not list the categories; accepted: different texts",
        ),
        (
            {"features": [{"name": "a", "categories": ["x"]}]},
            "features[0].categories: ['x'] makes no sense for a number",
        ),
        (
            {"features": [{"name": "a", "max": float("nan")}]},
            "features[0].max: nan is not a bound; accepted: a finite number",
        ),
        (
            {"columns": {"event_time": "event_id"}},
            "columns: ['event_id', 'event_id'] does not name",
        ),
        ({"target": {"classes": ["1"]}}, "target.classes: ['1'] does not name the classes"),
        (
            {"training": {"estimator": "rm -rf"}},
            "training.estimator: 'rm -rf' is not an estimator; accepted: 'default', the dotted",
        ),
        ({"training": {"min_rows": 0}}, "training.min_rows: 0 is not a number of rows"),
        ({"training": {"holdout": 0.9}}, "training.holdout: 0.9 is not a share"),
        ({"training": {"half_life": 0}}, "training.half_life: 0.0 is not a half-life; accepted:"),
        ({"training": {"windows": []}}, "training.windows: [] does not name the training sets"),
        (
            {"training": {"windows": ["newest", "newest"]}},
            "accepted: one or more different ones of newest, since_change, weighted",
        ),
        ({"training": {"windows": ["oldest"]}}, "training.windows[0]: Invalid enum value 'oldest'"),
        ({"training": {"time_limit": "soon"}}, "training.time_limit: 'soon' is not a duration"),
        ({"shadow": {"loss": "luck"}}, "shadow.loss: 'luck' is not a loss for classification"),
        (
            {"shadow": {"non_inferiority": -0.1}},
            "shadow.non_inferiority: -0.1 is not a tolerance; accepted: a loss difference from 0",
        ),
        (
            {"shadow": {"margin": -0.6, "non_inferiority": 0.4}},
            "shadow.non_inferiority: 0.4 is not a tolerance",
        ),
        ({"drift": {"alarms_per_million": 0}}, "drift.alarms_per_million: 0.0 is not a budget"),
        ({"limits": {"earliest": "never"}}, "limits.earliest: 'never' is not a date"),
        (
            {"slices": [{"name": "s", "feature": "wind", "value": 1}]},
            "slices[0].feature: 'wind' is not a feature; accepted: hour",
        ),
    ],
)
def test_a_field_that_is_not_accepted_is_told(changes: dict[str, Any], told: str) -> None:
    assert told in "\n".join(problems(**changes))


def test_every_problem_is_told_at_once() -> None:
    told = problems(name="A", features=[], shadow={"level": 2})
    assert [line.split(":")[0] for line in told] == ["name", "features", "shadow.level"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("0.5s", 0.5)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert durations.seconds(text) == seconds
    assert durations.milliseconds(text) == seconds * 1000


@pytest.mark.parametrize("text", ["", "5", "s", "1 h", "1w", "-1s", "1s\n"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; accepted: a number and a unit"):
        durations.seconds(text)
