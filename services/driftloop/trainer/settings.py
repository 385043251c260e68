"""Settings of the trainer."""

from driftloop.runtime.settings import Shared


class TrainerSettings(Shared, frozen=True, kw_only=True):
    """What only the trainer needs."""

    threads: int = 1
    """Threads of a fit (OpenMP); the result does not depend on it."""
