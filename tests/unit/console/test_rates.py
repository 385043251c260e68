import pytest

from driftloop.console.domain.rates import Rate, labelled


def test_a_rate_is_rows_over_seconds() -> None:
    rate = Rate()
    for second in range(0, 9, 2):
        rate.add(100.0 + second, 250.0 * second)
    assert rate.per_second(109.0) == pytest.approx(250)


def test_only_the_last_seconds_count() -> None:
    rate = Rate()
    for second in range(0, 60, 2):
        rate.add(second, 0.0 if second < 40 else 100.0 * (second - 40))
    assert rate.per_second(58.0) == pytest.approx(100)


def test_a_process_that_starts_anew_is_no_negative_rate() -> None:
    rate = Rate()
    rate.add(0.0, 1_000_000.0)
    rate.add(2.0, 40.0)
    assert rate.per_second(2.0) == 0.0
    rate.add(4.0, 60.0)
    assert rate.per_second(4.0) == pytest.approx(10)


def test_a_counter_nobody_reports_any_more_stands_still() -> None:
    rate = Rate()
    rate.add(0.0, 0.0)
    rate.add(2.0, 100.0)
    assert rate.per_second(3.0) == pytest.approx(50)
    assert rate.per_second(60.0) == 0.0


def test_one_sample_is_no_rate() -> None:
    rate = Rate()
    rate.add(0.0, 5.0)
    assert rate.per_second(0.0) == 0.0


def test_counters_are_found_by_their_model() -> None:
    counters = {
        "driftloop_scored_rows_total{model=flights}": 5.0,
        "driftloop_scored_rows_total{model=churn}": 6.0,
        "driftloop_other_total{model=churn}": 7.0,
        "driftloop_scored_rows_total": 8.0,
    }
    assert labelled(counters, "driftloop_scored_rows_total") == {"flights": 5.0, "churn": 6.0}
