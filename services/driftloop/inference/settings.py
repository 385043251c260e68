"""Settings of the inference service."""

from typing import Annotated, Literal

from msgspec import Meta

from driftloop.runtime.settings import Shared


class InferenceSettings(Shared, frozen=True, kw_only=True):
    """Settings of the inference service."""

    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    """Processes that answer on the same ports; each has its own models, shadows and bounds."""
    shadow_seconds: Annotated[float, Meta(gt=0)] = 1.0
    """How long the scoring of a batch waits for a shadow, at most."""
    refresh_seconds: Annotated[float, Meta(gt=0)] = 2.0
    """How often the models' states are read again, events or not."""

    sessions_mb: Annotated[int, Meta(ge=1)] = 512
    """Megabytes of loaded versions, estimated; what was not used for longest is let go, and loaded
    again when it is asked for."""
    threads: Annotated[int, Meta(ge=1, le=256)] = 1
    """Threads of one run of a model."""
    provider: Literal["cpu", "cuda"] = "cpu"
    """What models run on: cpu, or cuda where onnxruntime has it. Shadows run on the CPU."""
    shadow_mb: Annotated[int, Meta(ge=64)] = 512
    """Resident megabytes of the process of a shadow; a larger one is ended and started again."""
    group: Annotated[int, Meta(ge=1, le=1024)] = 32
    """Messages of the stream scored together, at most."""
    ack_seconds: Annotated[float, Meta(ge=1)] = 5.0
    """After how long another replica is given what a dead one had in hand."""
    queue_rows: Annotated[int, Meta(ge=1)] = 65_536
    """Rows that wait for one model, at most; more are refused with 503."""
    queue_ms: Annotated[float, Meta(gt=0)] = 30.0
    """Milliseconds of work that may wait for one model; what comes on top is refused with 503."""
    run_rows: Annotated[int, Meta(ge=1)] = 8_192
    """Rows of one run of a model, at most, where requests have fewer."""
    busy_poll_ms: Annotated[float, Meta(ge=0)] = 0.0
    """Milliseconds after an answer without sleep: lone requests are answered in half the time, and
    a core is taken all the while; 0 sleeps at once."""
    cache_mb: Annotated[int, Meta(ge=0)] = 0
    """Megabytes for answers to rows asked before, for each model; 0 keeps none."""
    connections: Annotated[int, Meta(ge=1)] = 1_024
    """HTTP connections open at a time."""
    grpc_port: Annotated[int, Meta(ge=-1, le=65_535)] = -1
    """Port of the Open Inference Protocol over gRPC: 0 any free one, -1 none."""
    cors_origins: str = ""
    """Origins whose pages may call, comma between them, or `*`; empty is none."""
    compress: bool = False
    """Whether answers over HTTP are compressed (gzip) for callers who accept it."""
    model_control: bool = False
    """Whether callers may load and unload models (V2 repository extension)."""
    body_bytes: Annotated[int, Meta(ge=1024)] = 8 << 20
    """Largest body of a request."""
    log_ms: Annotated[float, Meta(gt=0)] = 100.0
    """How long a row answered on request waits for others before it is logged, in milliseconds."""
    log_batch_rows: Annotated[int, Meta(ge=1)] = 2_048
    """Rows answered on request that are logged at once; more make longer pauses of the answers."""
    log_share: Annotated[float, Meta(gt=0, le=1)] = 0.1
    """Share of the time that making ready for the log may take from answers, at most."""
    log_rows: Annotated[int, Meta(ge=0)] = 200_000
    """Rows answered on request that wait for the log, at most; 0 logs none."""
    log_mb: Annotated[int, Meta(ge=0)] = 64
    """Megabytes of rows answered on request that wait for the log, at most."""

    def __post_init__(self) -> None:
        """Refuse what several processes cannot keep; raises `ValueError`."""
        if self.workers > 1 and self.grpc_port == 0:
            raise ValueError(
                f"grpc_port: 0 with workers {self.workers} is another port for each; "
                "accepted: a port, or -1"
            )
        if self.workers > 1 and self.model_control:
            raise ValueError(
                f"model_control: true with workers {self.workers} would reach one of them; "
                "accepted: false, or workers 1"
            )
