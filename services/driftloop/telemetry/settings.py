"""Settings of telemetry."""

from driftloop.runtime.settings import Shared


class TelemetrySettings(Shared, frozen=True, kw_only=True):
    """Where the tables are, how rows are gathered for an insert, what a question may cost."""

    path: str = ".driftloop/clickhouse"
    """Folder of the embedded ClickHouse (chDB), for one process; unused with `clickhouse_url`."""
    flush_rows: int = 100_000
    """So many rows wait for no others: the insert is made at once."""
    flush_seconds: float = 1.0
    """Seconds that a row waits for others at most; the more there are already, the shorter."""
    buffer_mb: int = 256
    """Megabytes that may wait; above it messages stay in the log."""
    query_seconds: float = 10.0
    """How long a question may run."""
    query_rows: int = 1_000_000
    """Rows an answer may have, however many were asked for."""
    query_memory_mb: int = 1_024
    """Megabytes a question may use."""
