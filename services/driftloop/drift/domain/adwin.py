"""ADWIN (Bifet and Gavalda 2007) of River, without the rest of River.

The package `river.drift` imports pandas, scipy and scikit-learn for its data sets: 110 MB and two
seconds of each start. Its ADWIN is a thin class around the compiled one that is used here.
"""

from typing import Final

from river._river_rust.drift import AdaptiveWindowing

MAX_BUCKETS: Final = 5
MIN_WINDOW: Final = 5
GRACE: Final = 10
"""River's defaults."""


class Adwin:
    """The window of one sequence; after a detection a new one begins, as in River."""

    def __init__(self, delta: float, clock: int) -> None:
        self._delta = delta
        self._clock = clock
        self.drift_detected = False
        self._window = self._new()

    @property
    def width(self) -> int:
        """Values in the window."""
        return int(self._window.get_width())

    @property
    def estimation(self) -> float:
        """Mean of the window; 0 when it is empty."""
        return float(self._window.get_total()) / self.width if self.width else 0.0

    @property
    def variance(self) -> float:
        """Sum of squared deviations of the window."""
        return float(self._window.get_variance())

    def update(self, value: float) -> None:
        """Take a value in; `drift_detected` tells whether it gave a change away."""
        if self.drift_detected:
            self._window = self._new()
        self.drift_detected = bool(self._window.update(value))

    def _new(self) -> AdaptiveWindowing:
        return AdaptiveWindowing(
            delta=self._delta,
            clock=self._clock,
            max_buckets=MAX_BUCKETS,
            min_window_length=MIN_WINDOW,
            grace_period=GRACE,
        )
