"""One false-alarm budget for all detectors of a model."""

import math
from collections.abc import Mapping

ROWS = 1_000_000


def split_alarm_budget(alarms_per_million: float, parts: Mapping[str, float]) -> dict[str, float]:
    """Return for each part in how many rows it may raise one false alarm.

    `alarms_per_million` is the expected number of false alarms allowed in a million rows of the
    whole model, `parts` the weight of each group of detectors that has evidence of its own
    (positive, in any unit). Expectations add up whatever the groups have to do with each other, so
    a group with a share w of the budget may raise w * alarms_per_million alarms in a million rows.

    Raises ValueError unless the budget is positive, finite and below one alarm in sixteen rows, and
    every weight is positive and finite.
    """
    most = ROWS / 16
    if not 0.0 < alarms_per_million <= most:
        raise ValueError(
            f"alarms_per_million is {alarms_per_million}; accepted is a number over 0, "
            f"up to {most:g}"
        )
    for name, weight in parts.items():
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(f"weight of {name} is {weight}; accepted is a finite number over 0")
    total = sum(parts.values())
    return {name: ROWS * total / (alarms_per_million * w) for name, w in parts.items()}
