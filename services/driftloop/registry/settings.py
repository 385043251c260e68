"""Settings of the registry."""

from driftloop.runtime.settings import Shared


class RegistrySettings(Shared, frozen=True, kw_only=True):
    """What only the registry needs."""

    tick_seconds: float = 1.0
    """How often deadlines and schedules are looked at."""
