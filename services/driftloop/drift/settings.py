"""Settings of drift."""

from driftloop.runtime.settings import Shared


class DriftSettings(Shared, frozen=True, kw_only=True):
    """What only drift needs."""

    score_seconds: float = 2.0
    """How often the state of every detector is published."""
