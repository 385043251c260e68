"""Settings of drift."""

from typing import Annotated

from msgspec import Meta

from driftloop.runtime.settings import Shared


class DriftSettings(Shared, frozen=True, kw_only=True):
    """What only drift needs."""

    score_seconds: float = 2.0
    """How often the state of every detector is published."""
    snapshot_seconds: Annotated[float, Meta(gt=0)] = 30.0
    """How often the state of every monitor is kept, if it read anything."""
    partitions: Annotated[int, Meta(ge=1, le=1024)] = 1
    """Parts the models are divided into, each with one active replica; the same in all replicas."""
