"""Settings of feedback."""

from driftloop.runtime.settings import Shared


class FeedbackSettings(Shared, frozen=True, kw_only=True):
    """What only feedback needs."""

    report_seconds: float = 1.0
    """How often the state of the join is published."""
