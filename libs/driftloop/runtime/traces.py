"""OpenTelemetry traces: spans of what is done to a sampled row or event, sent out behind the work.

The decision falls at the head, where a row comes in, and travels in the flags of `traceparent`.
Where several inputs become one message, its span goes on from the first that is sampled and has
links to the others (https://opentelemetry.io/docs/specs/otel/overview/#links-between-spans).
Without a receiver nothing is imported, made or measured.
"""

import logging
import os
import random
import socket
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal

from driftloop.bus.messages import Delivered
from driftloop.bus.observed import LISTENER, Span, Value
from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.headers import ROWS, is_sampled, is_traceparent
from driftloop.runtime import metrics

if TYPE_CHECKING:
    from driftloop.runtime.spans import Recorder

log = logging.getLogger(__name__)

Kind = Literal["server", "producer", "consumer", "client", "internal"]
"""As in https://opentelemetry.io/docs/specs/otel/trace/api/#spankind."""

SPANS: Final = metrics.counter(
    "trace_spans",
    "Spans by what became of them: exported, full (the queue was) or failed (the receiver did not"
    " take them)",
    ["outcome"],
)
FORGOTTEN: Final = metrics.counter(
    "trace_contexts_dropped", "Trace contexts that were forgotten before their rows were joined"
)
MOST_REMEMBERED: Final = 4_096
PATH: Final = "/v1/traces"
"""Of the receiver, where the setting names none."""


class _Tracing:
    """Where spans go; None as long as nobody wants any."""

    recorder: "Recorder | None" = None
    ratio: float = 0.0


_tracing = _Tracing()


def configure(service: str, url: str, ratio: float) -> None:
    """Send spans of this process to `url`, for a share of `ratio` of what comes in; empty: none.

    Raises `InvalidInput` for what is no URL.
    """
    if not url:
        return
    endpoint = endpoint_of(url)
    from driftloop.runtime.spans import Recorder  # here: without a receiver it takes no memory

    instance = f"{socket.gethostname()}-{os.getpid()}"
    _tracing.recorder = Recorder(endpoint, service, instance, SPANS)
    _tracing.ratio = ratio
    LISTENER.begin = _handling
    log.info("traces: %g of what comes in, to %s", ratio, endpoint)


def close() -> None:
    """Send what is left, for some seconds at most."""
    recorder, _tracing.recorder, LISTENER.begin = _tracing.recorder, None, None
    if recorder is not None:
        recorder.close()


def on() -> bool:
    """Whether spans are recorded at all: what only serves them need not be done otherwise."""
    return _tracing.recorder is not None


@contextmanager
def entering(name: str, caller: str = "", **attributes: Value) -> Iterator[Span]:
    """The span in which something comes in: here it is decided whether it is recorded.

    `caller` is the trace context of who sends. If that is not sampled, nothing is; if it is, its
    trace goes on for the same share of traces, chosen by their ids.
    """
    yield from _within(_enter(name, caller, attributes))


@contextmanager
def span(name: str, *inputs: str, kind: Kind = "internal", **attributes: Value) -> Iterator[Span]:
    """The span in which something is made of inputs, by their trace contexts.

    It is recorded if one of them is sampled: as the child of the first of these, with links to the
    others.
    """
    yield from _within(_begin(name, inputs, kind, attributes))


def _within(span: Span) -> Iterator[Span]:
    try:
        yield span
    except BaseException as error:
        span.end(error)
        raise
    span.end()


class Remembered:
    """Trace contexts of messages that are used later, by sequence: the newest sampled ones."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self._most = most
        self._contexts: OrderedDict[int, str] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._contexts)

    def keep(self, seq: int, traceparent: str) -> None:
        """Remember the context of the message at a sequence, if it is sampled."""
        if on() and is_sampled(traceparent):
            self._contexts[seq] = traceparent
            if len(self._contexts) > self._most:
                self._contexts.popitem(last=False)
                FORGOTTEN.inc()

    def of(self, seqs: Sequence[int]) -> list[str]:
        """The contexts of these messages, as far as they are remembered."""
        found = self._contexts
        return [found[seq] for seq in seqs if seq in found]


def endpoint_of(url: str) -> str:
    """The receiver's address, with the usual path if `url` has none."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if scheme not in ("http", "https") or not separator or not host:
        raise InvalidInput(
            f"traces_url: {url!r} is no address; accepted: http://host:4318, or https://..."
        )
    return url if slash and path else f"{scheme}://{host}{PATH}"


def _enter(name: str, caller: str, attributes: dict[str, Value]) -> Span:
    recorder = _tracing.recorder
    if recorder is None:
        return Span()
    if not is_traceparent(caller):
        if random.random() >= _tracing.ratio:
            return Span()
        return _start(recorder, name, [], "server", attributes)
    if is_sampled(caller) and int(caller[19:35], 16) < _tracing.ratio * 2**64:
        return _start(recorder, name, [caller], "server", attributes)
    return Span(f"{caller[:-2]}00")


def _begin(name: str, inputs: Sequence[str], kind: Kind, attributes: dict[str, Value]) -> Span:
    recorder = _tracing.recorder
    if recorder is not None:
        sampled = [its for its in dict.fromkeys(inputs) if is_sampled(its) and is_traceparent(its)]
        if sampled:
            return _start(recorder, name, sampled, kind, attributes)
    return Span(inputs[0] if inputs else "")


def _start(
    recorder: "Recorder", name: str, parents: list[str], kind: Kind, attributes: dict[str, Value]
) -> Span:
    """A span that is recorded; whatever goes wrong with it, the work goes on without."""
    try:
        return recorder.start(name, parents, kind, attributes)
    except Exception:
        log.exception("traces: %s is not recorded", name)
        return Span(parents[0] if parents else "")


def _handling(consumer: str, message: Delivered) -> Span:
    """The span in which a consumer handles a message."""
    attributes: dict[str, Value] = {
        "messaging.system": "nats",
        "messaging.operation.type": "process",
        "messaging.destination.name": message.subject,
        "messaging.consumer.group.name": consumer,
        "messaging.message.id": message.event_id,
        "position": message.position,
        "model": message.model,
    }
    rows = message.headers.get(ROWS, "")
    if rows.isdecimal():
        attributes["rows"] = int(rows)
    context = message.headers.get("traceparent", "")
    return _begin(f"process {consumer}", [context], "consumer", attributes)
