"""Receivers of notifications: a real HTTP server and a real mail server, on free ports."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

from driftloop.local.ports import free_port

SECONDS = 45.0


class Hook:
    """An HTTP server that keeps what it is sent, and answers with `statuses`, then with 200.

    While `held` is set it takes requests and does not answer.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.held = threading.Event()
        self.released = threading.Event()
        self._came = threading.Condition()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with hook._came:
                    hook.requests.append((headers, body))
                    status = hook.statuses.pop(0) if hook.statuses else 200
                    hook._came.notify_all()
                if hook.held.is_set():
                    hook.released.wait(SECONDS)
                    return
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing on standard error."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook/s3cret-path"

    @contextmanager
    def running(self) -> Iterator["Hook"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self.released.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def wait(self, count: int) -> None:
        """Until so many requests have come."""
        with self._came:
            came = self._came.wait_for(lambda: len(self.requests) >= count, SECONDS)
        assert came, f"{len(self.requests)} of {count} requests came"

    def documents(self) -> list[Any]:
        """The bodies so far."""
        return [json.loads(body) for _, body in self.requests]


class Mailbox:
    """A mail server with STARTTLS and one user, which keeps what it is sent."""

    USER, PASSWORD = "driftloop", "s3cret-mail"

    def __init__(self, cert: str = "", key: str = "") -> None:
        self.letters: list[tuple[list[str], EmailMessage]] = []
        self.port = free_port()
        context = None
        if cert:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(cert, key)
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            tls_context=context,
            require_starttls=bool(cert),
            auth_required=bool(cert),
            authenticator=self._login if cert else None,
        )

    async def handle_DATA(self, server: object, session: Session, envelope: Envelope) -> str:  # noqa: N802  # the name aiosmtpd asks for
        content = envelope.content
        assert isinstance(content, bytes)
        self.letters.append((envelope.rcpt_tos, message_from_bytes(content, policy=default)))
        return "250 OK"

    def _login(
        self, server: object, session: object, envelope: object, mechanism: str, data: object
    ) -> AuthResult:
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (
            self.USER.encode(),
            self.PASSWORD.encode(),
        )
        return AuthResult(success=good)

    @contextmanager
    def running(self) -> Iterator["Mailbox"]:
        self._controller.start()
        try:
            yield self
        finally:
            self._controller.stop()

    def wait(self, count: int) -> None:
        """Until so many letters have come."""
        end = time.monotonic() + SECONDS
        while len(self.letters) < count:
            assert time.monotonic() < end, f"{len(self.letters)} of {count} letters came"
            time.sleep(0.02)
