"""Settings of the inference service."""

from typing import Annotated

from msgspec import Meta

from driftloop.runtime.settings import Shared


class InferenceSettings(Shared, frozen=True, kw_only=True):
    """Settings of the inference service."""

    shadow_seconds: Annotated[float, Meta(gt=0)] = 0.25
    """How long the scoring of a batch waits for a shadow, at most."""
    refresh_seconds: Annotated[float, Meta(gt=0)] = 2.0
    """How often the models' states are read again, events or not."""
    sessions: Annotated[int, Meta(ge=1)] = 8
    """Versions kept loaded, at most; those that answer now are kept in any case."""
    group: Annotated[int, Meta(ge=1, le=1024)] = 32
    """Messages of the stream scored together, at most."""
    ack_seconds: Annotated[float, Meta(ge=1)] = 10.0
    """After how long another replica is given what a dead one had in hand."""
    body_bytes: Annotated[int, Meta(ge=1024)] = 8 << 20
    """Largest body of a request."""
