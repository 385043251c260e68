"""Settings of the validation service."""

from typing import Annotated

from msgspec import Meta

from driftloop.runtime.settings import Shared


class ValidationSettings(Shared, frozen=True, kw_only=True):
    """Settings of the validation service."""

    group: Annotated[int, Meta(ge=1, le=1024)] = 16
    """Batches of rows checked together, at most."""
    batch_bytes: Annotated[int, Meta(ge=1024, le=7 << 20)] = 4 << 20
    """Most bytes of columns in one batch of quarantined rows; more become several."""
