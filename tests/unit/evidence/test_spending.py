"""The share of an error level that each of many tests has."""

import math

import pytest

from driftloop.evidence import share_of_level


def test_the_shares_of_all_numbers_add_up_to_the_level_and_no_more() -> None:
    total = sum(share_of_level(0.05, number) for number in range(1, 100_001))
    assert 0.0499 < total < 0.05


def test_later_tests_have_less_and_the_first_has_most() -> None:
    shares = [share_of_level(0.05, number) for number in range(1, 20)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(0.05 * 6 / math.pi**2)


@pytest.mark.parametrize(
    ("level", "number", "named"),
    [(0.0, 1, "level is 0.0"), (1.0, 1, "level is 1.0"), (0.05, 0, "number is 0; accepted")],
)
def test_bad_parameters_are_refused_by_name(level: float, number: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        share_of_level(level, number)
