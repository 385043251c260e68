"""Settings from environment variables, checked: a misspelt variable is an error."""

import os
from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from driftloop.contracts.errors import InvalidInput

PREFIX: Final = "DRIFTLOOP_"
OF_COMMANDS: Final = (f"{PREFIX}CONSOLE", f"{PREFIX}TOKEN")
"""Read by the command line alone: where the console is, and the caller's token."""
SERVICES: Final = (
    "ingest",
    "validation",
    "inference",
    "feedback",
    "drift",
    "trainer",
    "registry",
    "telemetry",
    "console",
)
BASE_PORT: Final = 8800
PORTS: Final[dict[str, int]] = {
    "console": BASE_PORT,
    "ingest": BASE_PORT + 1,
    "inference": BASE_PORT + 2,
    "validation": BASE_PORT + 3,
    "feedback": BASE_PORT + 4,
    "drift": BASE_PORT + 5,
    "trainer": BASE_PORT + 6,
    "registry": BASE_PORT + 7,
    "telemetry": BASE_PORT + 8,
}
NICE: Final[dict[str, int]] = dict.fromkeys(("feedback", "drift", "trainer", "telemetry"), 10)
"""Of services for whose answer no caller waits: what they read stays in the log until they do."""


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of every service: `DRIFTLOOP_<NAME>`, `DRIFTLOOP_<SERVICE>_<NAME>` for one alone."""

    nats_url: str = "nats://127.0.0.1:4222"
    """Where the NATS server is; of a cluster all its servers, with a comma between them."""
    nats_ca: str = ""
    """File of the authority (PEM) of the NATS server's certificate; empty is no TLS."""
    keys: str = ""
    """Folder with this service's key, `<service>.nk`, and `public.json`; empty: an open broker."""
    nats_replicas: int = 1
    """Replicas of each stream (3 on a cluster)."""
    nats_log_gb: float = 30.0
    """Room for all streams together (GiB), shared out among them; a stream never shrinks."""
    nats_sync: str = "2m"
    """How often the NATS server that `driftloop up` starts flushes to the disk: a time such as 10s,
    or `always`, which is before it acknowledges. A server of your own has its own setting."""
    clickhouse_url: str = ""
    """A ClickHouse server, `http://user:password@host:8123/name`; empty is the embedded chDB."""
    host: str = "127.0.0.1"
    """Address the HTTP server binds to."""
    port: int = 0
    """Port of the HTTP server; 0 is the service's default."""
    tls_cert: str = ""
    """File of the certificate chain (PEM) of the HTTP server, and of gRPC; empty is no TLS."""
    tls_key: str = ""
    """File of its private key (PEM)."""
    tokens: Literal["auto", "required", "off"] = "auto"
    """Whether callers over HTTP and gRPC need a token: required, off, or auto, which is off where
    `host` is a loopback address and required everywhere else."""
    nice: Annotated[int, Meta(ge=-1, le=19)] = -1
    """How far the service gives way to others on its machine, 0 (not) to 19 (sched(7)); -1 is 10
    for feedback, drift, trainer and telemetry, and 0 for the rest, on whom callers wait."""
    model_mb: Annotated[int, Meta(ge=1)] = 256
    """Megabytes of a model's file, at most; a larger one is refused."""
    model_tensor_mb: Annotated[int, Meta(ge=1)] = 256
    """Megabytes of a model's constants, and of any tensor it makes of one row, at most."""
    model_operators: str = ""
    """ONNX operators accepted beside the usual ones, comma between, such as `Loop`."""
    log_level: str = "info"
    """debug, info, warning or error."""
    log_format: str = "text"
    """text for people, json for machines."""
    stats_seconds: float = 2.0
    """How often a service publishes its memory, CPU and counters."""
    traces_url: str = ""
    """Receiver of OpenTelemetry traces by OTLP over HTTP, such as http://127.0.0.1:4318; empty is
    none."""
    traces_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.01
    """Share of what comes in that is traced: of requests with rows or labels, and of logged batches
    of answers."""


S = TypeVar("S", bound=Shared)


def given(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Settings in this process's environment, or in another."""
    found = os.environ if environment is None else environment
    return {
        name: value
        for name, value in found.items()
        if name.startswith(PREFIX) and name not in OF_COMMANDS
    }


def of_command(variable: str) -> str:
    """One of `OF_COMMANDS`, for what has no option of its own; empty if it is not set."""
    return os.environ.get(variable, "") if variable in OF_COMMANDS else ""


def load(kind: type[S], service: str, environment: Mapping[str, str] | None = None) -> S:
    """The settings of a service from its environment.

    Raises `InvalidInput` that names the variable, its value and what is accepted.
    """
    own, shared = f"{PREFIX}{service.upper()}_", set(Shared.__struct_fields__)
    fields = set(kind.__struct_fields__)
    values: dict[str, str] = {}
    problems: list[str] = []
    for variable, value in sorted(given(environment).items()):
        if variable.startswith(own):
            field = variable.removeprefix(own).lower()
            known = field in fields
        else:
            field = variable.removeprefix(PREFIX).lower()
            known = field in shared
            if not known and any(
                field.startswith(f"{other}_") for other in SERVICES if other != service
            ):
                continue
        if not known:
            accepted = ", ".join(variables(kind, service))
            problems.append(
                f"{variable}: {value!r} is not a setting of {service}; accepted: {accepted}"
            )
        elif variable.startswith(own) or field not in values:
            values[field] = value
    if problems:
        raise InvalidInput("\n".join(problems))
    try:
        settings = msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"settings of {service}: {error}; found: {values}") from error
    return msgspec.structs.replace(
        settings,
        port=settings.port or PORTS[service],
        nice=NICE.get(service, 0) if settings.nice < 0 else settings.nice,
    )


def variables(kind: type[Shared], service: str) -> list[str]:
    """The environment variables of a service, shared ones first."""
    shared = Shared.__struct_fields__
    own = [f for f in kind.__struct_fields__ if f not in shared]
    return [f"{PREFIX}{f.upper()}" for f in shared] + [
        f"{PREFIX}{service.upper()}_{f.upper()}" for f in own
    ]


def environment_of_child(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with only `settings` of ours, for a service started here."""
    return {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)} | dict(settings)
