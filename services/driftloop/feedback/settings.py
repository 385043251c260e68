"""Settings of feedback."""

from typing import Annotated

from msgspec import Meta

from driftloop.runtime.settings import Shared


class FeedbackSettings(Shared, frozen=True, kw_only=True):
    """What only feedback needs."""

    report_seconds: float = 1.0
    """How often the state of the join is published."""
    partitions: Annotated[int, Meta(ge=1, le=1024)] = 1
    """Parts the models are divided into, each with one active replica; the same in all replicas."""
