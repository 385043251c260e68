"""What is known about a mean so far."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds on a mean, the observed mean (NaN before the first row) and the number of rows.

    The mean lies strictly between `lower` and `upper`, or at an edge of the possible range.
    """

    lower: float
    upper: float
    mean: float
    rows: int
