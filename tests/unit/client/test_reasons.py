"""What is wrong with rows, as the console lists it, finds these rows again."""

import pytest

from driftloop.client.requeue import problem


@pytest.mark.parametrize(
    ("reason", "listed"),
    [
        ("distance: 4983 is above the max; accepted: 50 to 4500", "distance: is above the max"),
        (
            "carrier: 'ZZ' is none of the categories; accepted: AA",
            "carrier: is none of the categories",
        ),
        ("event_id: is missing; accepted: a text", "event_id: is missing"),
        ("wind: what: now does not fit", "wind: does not fit"),
        ("something else", "something else"),
    ],
)
def test_a_reason_is_listed_without_its_value(reason: str, listed: str) -> None:
    assert problem(reason) == listed
