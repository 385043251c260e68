"""A receiver of OpenTelemetry traces: a real HTTP server that decodes what OTLP exporters send."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A span as it came; ids are in hexadecimal, `parent` is empty for a root."""

    service: str
    name: str
    kind: int
    trace: str
    id: str
    parent: str
    start: int
    end: int
    links: tuple[tuple[str, str], ...]
    attributes: dict[str, Any]


class Receiver:
    """Spans received so far; `status` is what is answered from now on."""

    def __init__(self) -> None:
        self.status = 200
        self.requests = 0
        self._spans: list[Received] = []
        self._lock = threading.Lock()
        self.url = ""

    @property
    def spans(self) -> list[Received]:
        """All of them."""
        with self._lock:
            return list(self._spans)

    def of(self, trace: str) -> list[Received]:
        """Those of one trace, by their beginning."""
        return sorted((s for s in self.spans if s.trace == trace), key=lambda s: s.start)

    def take(self, body: bytes) -> None:
        """Take in the body of a request."""
        asked = ExportTraceServiceRequest()
        asked.ParseFromString(body)
        found = [
            _received(_values(its.resource.attributes)["service.name"], span)
            for its in asked.resource_spans
            for scope in its.scope_spans
            for span in scope.spans
        ]
        with self._lock:
            self._spans += found


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver on a free port."""
    its = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            its.requests += 1
            if self.path == "/v1/traces" and its.status == 200:
                its.take(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(its.status if self.path == "/v1/traces" else 404)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    its.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield its
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _received(service: str, span: Any) -> Received:
    return Received(
        service=service,
        name=span.name,
        kind=span.kind,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        attributes=_values(span.attributes),
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}
