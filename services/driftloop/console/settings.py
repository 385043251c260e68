"""Settings of the console."""

from typing import Annotated

from msgspec import Meta

from driftloop.runtime.settings import Shared


class ConsoleSettings(Shared, frozen=True, kw_only=True):
    """What the console remembers, and how often it says so."""

    events_kept: Annotated[int, Meta(ge=1, le=100_000)] = 2_000
    """Newest control events in memory, some 2 KB each; older ones are asked of telemetry."""
    models_kept: Annotated[int, Meta(ge=1, le=100_000)] = 5_000
    """Models the pages can show; further ones are left out and counted."""
    points_kept: int = 240
    """Points of the evidence line of a shadow; every second one goes when it is full."""
    stats_replayed: int = 5_000
    """Measurements read back at the start, so that the page is not empty."""
    state_seconds: Annotated[float, Meta(gt=0)] = 1.0
    """How often cards that changed are sent to open pages."""
    lag_seconds: Annotated[float, Meta(gt=0)] = 5.0
    """How often the consumers of the streams are looked at."""
    latency_seconds: Annotated[float, Meta(gt=0)] = 15.0
    """How often telemetry is asked for the 99th percentile of the newest requests."""
    audit_seconds: Annotated[float, Meta(ge=0)] = 600.0
    """How long after a model's rows were added up they are added up again; 0 is never. Sooner for
    who looks at them."""
    audit_hours: Annotated[float, Meta(ge=0)] = 24.0
    """Rows and labels of so many newest hours are added up; 0 is all that is kept."""
    clients: int = 64
    """Open pages at most; further ones are told to come back later."""
    notify: str = ""
    """File of rules for notifications (TOML); empty is none. See the how-to."""
    public_url: str = ""
    """Address of the console as people reach it, for the links in notifications."""
    docs_url: str = ""
    """Address of these pages of documentation, for the same links; empty names the page alone."""
    cpu_hour_price: str = ""
    """What an hour of one core costs, such as `0.04 EUR`; empty shows CPU seconds alone."""
