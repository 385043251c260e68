"""Settings of the ingest service."""

from typing import Annotated

from msgspec import Meta

from driftloop.runtime.settings import Shared


class IngestSettings(Shared, frozen=True, kw_only=True):
    """Settings of the ingest service."""

    max_body: Annotated[int, Meta(ge=1024)] = 16 << 20
    """Largest body of a request, in bytes."""
    max_rows: Annotated[int, Meta(ge=1)] = 500_000
    """Most rows or labels in one request."""
    batch_rows: Annotated[int, Meta(ge=1)] = 2048
    """Most rows in one batch of the log; a larger request becomes several. Larger batches hold up
    what comes beside them for longer."""
    batch_bytes: Annotated[int, Meta(ge=1024, le=7 << 20)] = 4 << 20
    """Most bytes of columns in one batch of the log."""
    held_bytes: Annotated[int, Meta(ge=1024)] = 64 << 20
    """Bytes of bodies under way at once; a request beyond it is told to come again."""
    queue_rows: Annotated[int, Meta(ge=1)] = 65_536
    """Rows that wait to share a batch; a request beyond it is told to come again."""
    max_lag: Annotated[int, Meta(ge=1)] = 2_000
    """Messages that validation may be behind in a lane before producers are told to slow down."""
    live_rows: Annotated[int, Meta(ge=1)] = 16_384
    """Rows of a model that may wait for validation in the live lane; with more, the model goes to
    the backlog lane, where it does not hold up others."""
    lag_seconds: Annotated[float, Meta(gt=0)] = 1.0
    """How often that is looked up, and how full the streams are."""
    publish_seconds: Annotated[float, Meta(gt=0)] = 10.0
    """How long a request waits for the log to acknowledge it before it is told to come again."""
