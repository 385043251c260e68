"""The workloads by name: what is asked, over what, by how many callers, and what is compared."""

from typing import Final, Literal

import msgspec

from driftloop.contracts.errors import InvalidInput
from driftloop.local.bench.samples import Compared

Kind = Literal["wrk", "paced", "cold", "nats", "grpc", "stress"]
Encoding = Literal[
    "v2", "v2-binary", "arrow", "rows", "instances", "named", "msgpack", "grpc", "constant"
]
"""How a body is written and its answer read."""

FEATURES: Final = 20
PACE: Final = 200
"""Requests a second of the workload `low`."""


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """One workload: `rows` a request, `bodies` different ones, `in_flight` requests at a time.

    `model` is the one it is for, whatever the options say. `variants` are settings of the service
    by the name of the variant: they are compared with each other, and with no peer unless one of
    them is `ours`. A workload of the kind `stress` compares the service under trouble with itself
    without.
    """

    name: str
    title: str
    kind: Kind
    rows: int = 1
    bodies: int = 512
    in_flight: int = 32
    encoding: Encoding = "v2"
    baseline: str = "naive"
    compared: Compared = "requests_per_s"
    model: str = ""
    variants: dict[str, dict[str, str]] = {}

    @property
    def alone(self) -> bool:
        """Whether the service is compared with itself only."""
        return bool(self.variants) and "ours" not in self.variants


_ALL: Final = (
    Workload(name="w1", title="HTTP, JSON, one row a request, 32 connections", kind="wrk"),
    Workload(
        name="w2",
        title="HTTP, JSON, 256 rows a request, 4 connections",
        kind="wrk",
        rows=256,
        bodies=64,
        in_flight=4,
    ),
    Workload(
        name="w2-binary",
        title="HTTP, binary tensors, 256 rows a request, 4 connections",
        kind="wrk",
        rows=256,
        bodies=64,
        in_flight=4,
        encoding="v2-binary",
    ),
    Workload(
        name="w2-arrow",
        title="HTTP, Arrow, 256 rows a request, 4 connections",
        kind="wrk",
        rows=256,
        bodies=64,
        in_flight=4,
        encoding="arrow",
    ),
    Workload(
        name="nats",
        title="NATS request-reply, MessagePack, one row a request, 64 in flight",
        kind="nats",
        in_flight=64,
        encoding="msgpack",
        baseline="faststream",
    ),
    Workload(
        name="grpc",
        title="gRPC, raw tensors, one row a request, 32 in flight",
        kind="grpc",
        encoding="grpc",
        baseline="ceiling",
    ),
    Workload(
        name="low",
        title=f"HTTP, JSON, one row a request, {PACE} requests a second whatever the answers take",
        kind="paced",
        in_flight=16,
        baseline="ceiling",
        compared="p50_ms",
        variants={"ours": {}, "ours awake": {"busy_poll_ms": "10"}},
    ),
    Workload(
        name="cold",
        title="from the start of the process to its first answer",
        kind="cold",
        bodies=16,
        compared="first_answer_s",
    ),
    Workload(
        name="workers",
        title="HTTP, binary tensors, 64 rows a request, 8 connections, one process and two, no log",
        kind="wrk",
        rows=64,
        bodies=256,
        in_flight=8,
        encoding="v2-binary",
        model="rf",
        baseline="1 worker",
        variants={
            "1 worker": {"workers": "1", "log_rows": "0"},
            "2 workers": {"workers": "2", "log_rows": "0"},
        },
    ),
    Workload(
        name="log",
        title="w1 with the prediction log and without",
        kind="wrk",
        baseline="no log",
        variants={"log": {}, "no log": {"log_rows": "0"}},
    ),
    Workload(
        name="swaps",
        title="w1 while the champion changes, both versions loaded",
        kind="stress",
    ),
    Workload(
        name="swaps-cold",
        title="w1 while the champion changes, each loaded anew",
        kind="stress",
    ),
    Workload(
        name="shadows",
        title="w1 while shadows misbehave",
        kind="stress",
    ),
    Workload(
        name="overload",
        title="HTTP, JSON, 64 rows a request, at ten times what the service can answer",
        kind="stress",
        rows=64,
        bodies=64,
        in_flight=8,
        model="rf",
    ),
    Workload(
        name="hostile",
        title="w1 while another client sends requests that are wrong",
        kind="stress",
    ),
)
WORKLOADS: Final = {one.name: one for one in _ALL}


def chosen(names: str) -> list[Workload]:
    """The workloads of a list with commas; raises `InvalidInput` for an unknown or no name."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted or [names]:
        if name not in WORKLOADS:
            raise InvalidInput(f"workload: {name!r} is not known; accepted: {', '.join(WORKLOADS)}")
    return [WORKLOADS[name] for name in dict.fromkeys(wanted)]
