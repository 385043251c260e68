"""Changes of a spec from the command line, and their product."""

import pytest

from driftloop.contracts.errors import InvalidInput
from driftloop.local.backtest import grid
from tests.support.backtest_files import spec


def test_a_value_is_read_as_toml_and_else_as_text() -> None:
    assert grid.one("drift.alarms_per_million=2") == {"drift.alarms_per_million": 2}
    assert grid.one('triggers.on=["drift"]') == {"triggers.on": ["drift"]}
    assert grid.one("triggers.cooldown=5d") == {"triggers.cooldown": "5d"}
    assert grid.one("drift.loss=false") == {"drift.loss": False}


def test_the_values_of_a_grid_are_parted_at_commas() -> None:
    assert grid.several("shadow.margin=0,0.001") == ("shadow.margin", [0, 0.001])
    assert grid.several("triggers.cooldown=1d, 5d") == ("triggers.cooldown", ["1d", "5d"])
    assert grid.several('triggers.on=["drift"],["drift","degraded"]') == (
        "triggers.on",
        [["drift"], ["drift", "degraded"]],
    )


def test_a_grid_is_the_product_of_its_axes_the_last_fastest() -> None:
    assert grid.product(["a=1,2", "b=3,4"]) == [
        {"a": 1, "b": 3},
        {"a": 1, "b": 4},
        {"a": 2, "b": 3},
        {"a": 2, "b": 4},
    ]
    assert grid.product([]) == [{}]


def test_a_grid_is_bounded() -> None:
    axis = ",".join(map(str, range(100)))
    with pytest.raises(InvalidInput, match="--grid: 10000 policies; accepted: from 1 to 500"):
        grid.product([f"a={axis}", f"b={axis}"])


def test_a_spec_is_changed_where_the_path_leads_and_nowhere_else() -> None:
    changed = grid.changed(spec(), {"drift.alarms_per_million": 3, "features.x.max": 4})

    assert changed.drift.alarms_per_million == 3.0
    assert changed.features[0].max == 4.0
    assert changed.features[1:] == spec().features[1:]
    assert grid.changed(spec(), {}) == spec()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"drift.alarms": 1}, "unknown field `alarms`.*accepted: .*alarms_per_million"),
        ({"drift.alarms_per_million": -1}, "drift.alarms_per_million: -1.0 is not a budget"),
        ({"drift.alarms_per_million": "two"}, "drift.alarms_per_million: Expected .*found 'two'"),
        ({"drfit.alarms_per_million": 1}, "'drfit' is no field of the spec; accepted: name, task"),
        ({"features.z.max": 1}, "'z' is no field of the spec; accepted: x, y, place"),
        ({"name.x": 1}, "name.x: is no field of the spec"),
        ({"name.x.y": 1}, "'x' is no field of the spec; accepted: nothing below it"),
    ],
)
def test_a_change_that_is_not_accepted_names_the_field(
    changes: dict[str, object], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        grid.changed(spec(), changes)


@pytest.mark.parametrize("text", ["shadow.margin", "=3", "shadow.margin=", ""])
def test_what_names_no_field_and_value_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"--set: .* names no field and value; accepted: "):
        grid.one(text)


def test_changes_read_as_they_were_written() -> None:
    changes = {"triggers.cooldown": "5d", "shadow.margin": 0.5, "triggers.on": ["drift"]}

    assert grid.told(changes) == 'triggers.cooldown=5d, shadow.margin=0.5, triggers.on=["drift"]'
    assert grid.told({}) == "as it is"
