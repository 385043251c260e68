"""Answers as bytes: status lines, the date, and the lines every answer has."""

import http
from email.utils import formatdate
from typing import Final

from driftloop.runtime.http1.codings import compress, worth_it
from driftloop.runtime.http1.heads import Head
from driftloop.runtime.problems import MEDIA_TYPE, problem_body

JSON: Final = b"application/json"
PROBLEM: Final = MEDIA_TYPE.encode()
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode())
    for status in http.HTTPStatus
}
_STARTS: Final = 256


def bodiless(status: int) -> bool:
    """Whether an answer with this status has neither body nor `content-length`."""
    return status == 204 or status == 304 or status < 200


class Starts:
    """The first lines of answers, made anew once a second since the date is one of them."""

    __slots__ = ("_known", "date", "json")

    def __init__(self) -> None:
        self._known: dict[tuple[int, bytes], bytes] = {}
        self.date = b""
        self.json = b""
        """The start of a 200 with JSON, up to the value of `content-length`; empty while the
        server stops, when every answer says `connection: close`.
        """

    def renew(self, now: float, stopping: bool) -> None:
        """Take `now` (seconds since 1970) as the date of the answers that follow."""
        self.date = b"date: " + formatdate(now, usegmt=True).encode() + b"\r\n"
        self._known.clear()
        self.json = b"" if stopping else self.get(200, JSON) + b"content-length: "

    def get(self, status: int, content_type: bytes) -> bytes:
        """Status line, date and `content-type` (left out when empty)."""
        known = self._known.get((status, content_type))
        if known is None:
            line = _LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
            kind = b"content-type: " + content_type + b"\r\n" if content_type else b""
            known = line + self.date + kind
            if len(self._known) < _STARTS:
                self._known[status, content_type] = known
        return known

    def whole(
        self,
        head: Head,
        keep: bool,
        status: int,
        content_type: bytes,
        body: bytes,
        headers: bytes,
        length: int | None = None,
    ) -> tuple[bytes, bytes]:
        """Head and body of an answer; `length` is told instead of the body's when HEAD needs it."""
        if head.gzip and worth_it(content_type, len(body)) and b"content-encoding:" not in headers:
            body = compress(body)
            headers += b"content-encoding: gzip\r\n"
        if bodiless(status):
            body, size = b"", b""
        else:
            size = b"content-length: %d\r\n" % (len(body) if length is None else length)
        lines = self.lines(head, keep, status, content_type, size + headers)
        return lines, b"" if head.method == "HEAD" else body

    def lines(
        self, head: Head, keep: bool, status: int, content_type: bytes, headers: bytes
    ) -> bytes:
        """The head of an answer whose framing is in `headers`."""
        if not keep:
            headers += b"connection: close\r\n"
        elif head.http_version == "1.0":
            headers += b"connection: keep-alive\r\n"
        return b"".join((self.get(status, content_type), head.extra, headers, b"\r\n"))

    def refusal(self, status: int, detail: str, headers: bytes, head_only: bool) -> bytes:
        """A problem after which the connection closes."""
        body = problem_body(status, detail)
        lines = b"%b%bcontent-length: %d\r\nconnection: close\r\n\r\n" % (
            self.get(status, PROBLEM),
            headers,
            len(body),
        )
        return lines if head_only else lines + body
