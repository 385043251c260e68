"""The command line as a caller of the operator API: what answers, and refusals, become."""

import contextlib
import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from driftloop.cli.api import Api, answered
from driftloop.cli.exits import Exit, Stop, code_of
from driftloop.contracts.errors import (
    DriftloopError,
    InvalidInput,
    Outdated,
    Reject,
    Retry,
    UnknownModel,
)
from driftloop.contracts.requests import Done
from driftloop.runtime.problems import problem_body
from tests.support.certificates import certificate


def refused(status: int, body: bytes) -> httpx.Response:
    request = httpx.Request("POST", "http://console/api/models/m/pause")
    return httpx.Response(status, content=body, request=request)


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (404, UnknownModel, Exit.USAGE),
        (409, Outdated, Exit.USAGE),
        (422, InvalidInput, Exit.USAGE),
        (413, Reject, Exit.USAGE),
        (429, Retry, Exit.SILENT),
        (503, Retry, Exit.SILENT),
        (500, DriftloopError, Exit.NO),
        (401, Stop, Exit.NO),
        (403, Stop, Exit.NO),
    ],
)
def test_a_refusal_says_what_the_console_said_and_ends_in_its_code(
    status: int, kind: type[DriftloopError], code: Exit
) -> None:
    with pytest.raises(kind, match="colour: 'x'; accepted: red") as caught:
        answered(refused(status, problem_body(status, "colour: 'x'; accepted: red")))
    assert code_of(caught.value) == code


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b"\xff"])
def test_a_refusal_of_something_else_is_named_by_its_status(body: bytes) -> None:
    with pytest.raises(DriftloopError, match="POST /api/models/m/pause: 502"):
        answered(refused(502, body))


@contextlib.contextmanager
def answering(body: bytes, folder: Path) -> Iterator[str]:
    """A server with a certificate of its own authority, that gives everybody this answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(folder))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_certificate_counts_if_its_authority_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = Done(text="is done")
    with answering(msgspec.json.encode(done), tmp_path) as url:
        with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            Api(url).get("/api/x", Done)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        assert Api(url).get("/api/x", Done) == done


def test_an_answer_of_another_form_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    said = pytest.raises(DriftloopError, match="accepted: a console of this version")
    with answering(b'{"txet": 1}', tmp_path) as url, said:
        Api(url).get("/api/x", Done)


@pytest.mark.parametrize("console", ["", "127.0.0.1:8800", "ftp://a", "nats://127.0.0.1:4222"])
def test_what_is_no_address_of_a_console_is_named(console: str) -> None:
    with pytest.raises(InvalidInput, match=r"--console: .* is no address; accepted: http://"):
        Api(console)
