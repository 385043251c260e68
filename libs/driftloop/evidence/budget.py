"""One false-alarm budget for all detectors of a model."""

import math

ROWS = 1_000_000


def split_alarm_budget(alarms_per_million: float, detectors: int, clock: int) -> float:
    """Return delta, the false-alarm probability each detector may spend on one check.

    `alarms_per_million` is the expected number of false alarms allowed in a million rows of the
    whole model; each of `detectors` looks once every `clock` rows. A million rows hold
    detectors * (1e6 / clock) checks. If each of them is wrong with probability at most delta, the
    expected number of false alarms is at most their sum (linearity of expectation, so detectors
    may depend on each other in any way), which this delta makes equal to the budget. It is also
    the union (Bonferroni) bound on the probability of any false alarm in that stretch.

    A bound, not an estimate: ADWIN (Bifet and Gavalda 2007, theorem 3.1) promises at most delta a
    check on bounded rows with a constant mean, and usually stays far below it. The promise is as
    good as the detector's: River's ADWIN takes the paper's second cut, a normal approximation, and
    rows that depend on their neighbours are outside the theorem.

    Raises ValueError unless the budget is positive and finite, `detectors` and `clock` are
    positive integers, and the result is a probability under 1.
    """
    if not (math.isfinite(alarms_per_million) and alarms_per_million > 0):
        raise ValueError(
            f"alarms_per_million is {alarms_per_million}; accepted is a finite number over 0"
        )
    for name, value in (("detectors", detectors), ("clock", clock)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}; accepted is an integer of at least 1")
    checks = detectors * ROWS / clock
    if alarms_per_million >= checks:
        raise ValueError(
            f"alarms_per_million is {alarms_per_million}, but {detectors} detectors checking every "
            f"{clock} rows check {checks:g} times in a million; accepted is a number under that"
        )
    return alarms_per_million / checks
