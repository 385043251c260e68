"""Settings of the console."""

from driftloop.runtime.settings import Shared


class ConsoleSettings(Shared, frozen=True, kw_only=True):
    """What the console remembers, and how often it says so."""

    events_kept: int = 500
    """Control events the page can show; older ones are in the log."""
    points_kept: int = 240
    """Points of the evidence line of a shadow; every second one goes when it is full."""
    stats_replayed: int = 5_000
    """Measurements read back at the start, so that the page is not empty."""
    state_seconds: float = 1.0
    """How often the state is sent to open pages."""
    clients: int = 64
    """Open pages at most; further ones are told to come back later."""
