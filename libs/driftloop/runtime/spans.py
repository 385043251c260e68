"""The one module that imports the OpenTelemetry SDK; `traces` imports it when spans are wanted."""

import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    format_span_id,
    format_trace_id,
)
from prometheus_client import Counter

from driftloop.bus import observed

log = logging.getLogger(__name__)

MOST_WAITING: Final = 4_096
BATCH: Final = 512
EVERY_SECONDS: Final = 1.0
EXPORT_SECONDS: Final = 3.0
"""How long one batch is tried."""
CLOSE_SECONDS: Final = 2.0
KINDS: Final = {
    "server": SpanKind.SERVER,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "client": SpanKind.CLIENT,
    "internal": SpanKind.INTERNAL,
}


class Exports(SpanProcessor):
    """Sends ended spans in batches from a thread of its own; what does not fit is dropped, counted.

    The SDK's own processor does not count what it drops where Prometheus sees it.
    """

    def __init__(self, endpoint: str, counter: Counter) -> None:
        for name in ("opentelemetry.exporter", "urllib3.connectionpool"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # `_failed` says it, and once
        self._exporter = OTLPSpanExporter(
            endpoint, timeout=EXPORT_SECONDS, compression=Compression.Gzip
        )
        self._counter = counter
        self._waiting: deque[ReadableSpan] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._away = False
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        """Take in a span; called where it ended, so it never waits."""
        if len(self._waiting) >= MOST_WAITING:
            self._counter.labels("full").inc()
            return
        self._waiting.append(span)
        if len(self._waiting) >= BATCH:
            self._wake.set()

    def shutdown(self) -> None:
        """Send what waits, `CLOSE_SECONDS` at most."""
        self._stopping = True
        self._wake.set()
        self._thread.join(CLOSE_SECONDS)
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # it says nothing of its types

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(EVERY_SECONDS)
            self._wake.clear()
            while self._waiting:
                self._send([self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))])

    def _send(self, batch: Sequence[ReadableSpan]) -> None:
        try:
            taken = self._exporter.export(batch) is SpanExportResult.SUCCESS
        except Exception as error:
            log.warning("traces: %s", error)
            taken = False
        self._counter.labels("exported" if taken else "failed").inc(len(batch))
        if taken is self._away:
            self._away = not taken
            told = "takes spans again" if taken else "takes no spans; they are dropped meanwhile"
            log.warning("traces: the receiver %s", told)


class Recorder:
    """Makes spans of one process. Who calls it decides what is recorded."""

    def __init__(self, endpoint: str, service: str, instance: str, counter: Counter) -> None:
        self._exports = Exports(endpoint, counter)
        resource = Resource.create(
            {
                "service.name": service,
                "service.namespace": "driftloop",
                "service.version": version("driftloop"),
                "service.instance.id": instance,
            }
        )
        provider = TracerProvider(resource=resource, sampler=ALWAYS_ON, shutdown_on_exit=False)
        provider.add_span_processor(self._exports)
        self._tracer = provider.get_tracer("driftloop", version("driftloop"))

    def start(
        self,
        name: str,
        parents: Sequence[str],
        kind: str,
        attributes: Mapping[str, observed.Value],
    ) -> "Recorded":
        """Begin a span: a child of the first of `parents` (valid trace contexts), linked to the
        others; the root of a new trace if there are none. Attributes without a dot are ours.
        """
        within, links = Context(), []
        if parents:
            first, *others = map(_context_of, parents)
            within = trace.set_span_in_context(NonRecordingSpan(first), within)
            links = [Link(other) for other in others]
        named = {k if "." in k else f"driftloop.{k}": value for k, value in attributes.items()}
        made = self._tracer.start_span(
            name, context=within, kind=KINDS[kind], attributes=named, links=links
        )
        return Recorded(made)

    def close(self) -> None:
        """Send what waits, for some seconds at most."""
        self._exports.shutdown()


class Recorded(observed.Span):
    """A span that is exported when it has ended."""

    recorded = True

    def __init__(self, span: trace.Span) -> None:
        its = span.get_span_context()
        super().__init__(f"00-{format_trace_id(its.trace_id)}-{format_span_id(its.span_id)}-01")
        self._span = span

    def end(self, error: BaseException | None = None) -> None:
        """It is over; with an `error` it is marked as failed."""
        if error is not None:
            self._span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {error}"[:500])
            self._span.set_attribute("error.type", type(error).__name__)
        self._span.end()


def _context_of(traceparent: str) -> SpanContext:
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )
