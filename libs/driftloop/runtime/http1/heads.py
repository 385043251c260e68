"""Heads of requests: parsed once by llhttp, then found again by their exact bytes."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httptools

from driftloop.runtime.http1.codings import accepts_gzip, coding_of
from driftloop.runtime.http1.cors import Cors
from driftloop.runtime.http1.limits import Limits
from driftloop.runtime.http1.refusals import Refused, shown
from driftloop.runtime.http1.targets import check_host, split_target

if TYPE_CHECKING:
    from driftloop.runtime.http1.exchange import Exchange

MEMO_HEADS: Final = 4096
"""Heads remembered at most, from the second time they come; half of them fresh."""

MEMO_BYTES: Final = 2048
"""A longer head is parsed each time."""


@dataclass(slots=True, eq=False)
class Head:
    """Request line and header fields of one request; a function of the bytes alone.

    The same object serves every request with the same bytes, so nobody may change it.
    """

    method: str
    path: str
    """Percent-decoded, always with a `/` in front, or `*`."""
    raw_path: bytes
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    """Names in lower case, in the order sent."""
    http_version: str
    """`1.0` or `1.1`."""
    take: "Handler"
    """Who answers: `handler`, the ASGI app, or the server itself (a preflight)."""
    keep_alive: bool = True
    length: int = 0
    """Bytes of the body as sent; 0 when `chunked`."""
    chunked: bool = False
    coding: bytes = b""
    """The content coding the server takes off the body: gzip, deflate or none."""
    expect_continue: bool = False
    content_type: str = ""
    """In lower case, without parameters."""
    handler: "Handler | None" = None
    """What the router said; for None the ASGI app answers."""
    extra: bytes = b""
    """Header lines of every answer to this head (CORS, vary)."""
    gzip: bool = False
    """Answers may be compressed."""
    plain: bool = False
    """An answer needs no line, and leaves out no body, because of this head."""
    whole: int = -1
    """Bytes of head and body together; -1 if the body needs work before it is handed on."""

    def get(self, name: bytes, default: bytes = b"") -> bytes:
        """The value of a field, by its name in lower case; several are joined with `, `."""
        found = [value for known, value in self.headers if known == name]
        return b", ".join(found) if found else default


Handler = Callable[["Exchange", bytes], None]
"""Answers a request, now or later from the same event loop; gets the body whole and inflated."""

Router = Callable[[Head], Handler | None]
"""Picks who answers, from the head alone; asked once for each different head, so its answer may
depend on nothing else (or `forget` is called when it changes). None: the ASGI app.
"""

_LINE = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x22\x24-\x7e]+) HTTP/([0-9]\.[0-9])\r\n"
)
_DIGITS = re.compile(rb"[0-9]{1,18}")
_ONCE = frozenset((b"host", b"content-length", b"content-type"))
_LISTS = frozenset(
    (b"transfer-encoding", b"connection", b"content-encoding", b"accept-encoding", b"expect")
)


class _Fields:
    """Takes the header fields from llhttp."""

    __slots__ = ("complete", "found")

    def __init__(self) -> None:
        self.found: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.found.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.complete = True


class Heads:
    """Parses heads, and remembers those that come again, in two generations: when the young one is
    full it becomes the old one, and what the old one held and nobody asked for is forgotten.
    """

    def __init__(
        self, limits: Limits, router: Router | None, app: Handler, cors: Cors, compress: bool
    ) -> None:
        self._limits = limits
        self._router = router
        self._app = app
        self._cors = cors
        self._compress = compress
        self.young: dict[bytes, Head] = {}
        self._old: dict[bytes, Head] = {}
        self._seen: set[int] = set()

    def forget(self) -> None:
        """Ask the router again about every head."""
        self.young.clear()
        self._old = {}

    def read(self, raw: bytes) -> Head:
        """The head of exactly these bytes, its empty line included.

        Raises `Refused` (400, 413, 415, 417, 431, 501, 505) for what is not served.
        """
        head = self.young.get(raw) or self._old.get(raw) or self._parse(raw)
        if len(raw) <= MEMO_BYTES and self._again(hash(raw)):
            if len(self.young) >= MEMO_HEADS // 2:
                self._old = dict(self.young)
                self.young.clear()
            self.young[raw] = head
        return head

    def fresh(self, raw: bytes) -> Head | None:
        """The same for a head that may be cut off or bad: None where `read` has to tell why."""
        if not 4 <= len(raw) <= self._limits.head_bytes:
            return None
        try:
            return self.read(raw)
        except Refused:
            return None

    def _again(self, known: int) -> bool:
        """Whether this head came before: one that comes only once is not worth remembering."""
        if known in self._seen:
            return True
        if len(self._seen) >= MEMO_HEADS:
            self._seen.clear()
        self._seen.add(known)
        return False

    def _parse(self, raw: bytes) -> Head:
        line = _LINE.match(raw)
        if line is None:
            raise _bad_line(raw)
        fields = self._fields(raw)
        method, target, version = line[1], line[2], line[3].decode()
        if version not in ("1.0", "1.1"):
            raise Refused(505, f"version: HTTP/{version}; accepted: HTTP/1.1 and HTTP/1.0")
        once, lists = _gather(fields)
        check_host(once.get(b"host"), version)
        path, raw_path, query = split_target(method, target)
        head = Head(method.decode(), path, raw_path, query, tuple(fields), version, self._app)
        self._frame(head, once, lists)
        kind = once.get(b"content-type", b"").partition(b";")[0]
        head.content_type = kind.strip().lower().decode("latin-1")
        self._route(head, lists)
        if not (head.chunked or head.coding):
            head.whole = len(raw) + head.length
        return head

    def _fields(self, raw: bytes) -> list[tuple[bytes, bytes]]:
        fields = _Fields()
        try:
            httptools.HttpRequestParser(fields).feed_data(raw)
        except httptools.HttpParserUpgrade:
            pass  # the request is answered as if it had not asked
        except httptools.HttpParserError as error:
            transfer = [value for name, value in fields.found if name == b"transfer-encoding"]
            if fields.complete and transfer:
                _check_transfer(b", ".join(transfer), None, True)
            raise _bad_head(raw, error) from error
        # Every line end must have been one of ours: nothing may hide in a value or after the head.
        lines = len(fields.found) + 2
        if not (fields.complete and lines == raw.count(b"\r\n")):
            raise Refused(400, "head: lines that are not name: value")
        if not (lines == raw.count(b"\n") == raw.count(b"\r")):
            raise Refused(400, "head: CR or LF that does not end a line")
        if len(fields.found) > self._limits.headers:
            detail = f"head: {len(fields.found)} fields; accepted: {self._limits.headers}"
            raise Refused(431, detail)
        return fields.found

    def _frame(self, head: Head, once: dict[bytes, bytes], lists: dict[bytes, bytes]) -> None:
        """Where the body ends, and whether another request may follow (RFC 9112, 6 and 9.3)."""
        length, transfer = once.get(b"content-length"), lists.get(b"transfer-encoding")
        modern = head.http_version == "1.1"
        if transfer is not None:
            _check_transfer(transfer, length, modern)
            head.chunked = True
        elif length is not None:
            if not _DIGITS.fullmatch(length):
                raise Refused(400, f"content-length: {shown(length)}; accepted: digits")
            head.length = int(length)
            if head.length > self._limits.body_bytes:
                accepted = f"accepted: at most {self._limits.body_bytes} bytes"
                raise Refused(413, f"body: {head.length} bytes are too many; {accepted}")
        options = [o.strip().lower() for o in lists.get(b"connection", b"").split(b",")]
        head.keep_alive = b"close" not in options and (modern or b"keep-alive" in options)
        expected = lists.get(b"expect", b"").lower()
        if expected and modern:
            if expected != b"100-continue":
                raise Refused(417, f"expect: {shown(expected)}; accepted: 100-continue")
            head.expect_continue = head.chunked or head.length > 0

    def _route(self, head: Head, lists: dict[bytes, bytes]) -> None:
        """Who answers, and what every answer has."""
        head.coding = coding_of(lists[b"content-encoding"]) if b"content-encoding" in lists else b""
        head.extra = self._cors.lines(head)
        if self._compress:
            head.extra += b"vary: accept-encoding\r\n"
            head.gzip = accepts_gzip(lists.get(b"accept-encoding", b""))
        modern = head.http_version == "1.1"
        head.plain = head.keep_alive and modern and head.method != "HEAD" and not head.extra
        if self._cors.is_preflight(head):
            head.take = self._cors.preflight
            return
        if self._router is not None:
            head.handler = self._router(head)
            head.take = head.handler or self._app


def _gather(fields: list[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """The fields the server reads itself: those that may come once, and lists, joined."""
    once: dict[bytes, bytes] = {}
    lists: dict[bytes, bytes] = {}
    for name, value in fields:
        if name in _ONCE:
            if name in once:
                raise Refused(400, f"{name.decode()}: more than one; accepted: one")
            once[name] = value
        elif name in _LISTS:
            lists[name] = lists[name] + b", " + value if name in lists else value
    return once, lists


def _check_transfer(transfer: bytes, length: bytes | None, modern: bool) -> None:
    if length is not None:
        raise Refused(400, "content-length and transfer-encoding: both; accepted: one of them")
    if not modern:
        raise Refused(400, "transfer-encoding: not in HTTP/1.0")
    codings = [coding.strip().lower() for coding in transfer.split(b",")]
    if codings == [b"chunked"]:
        return
    status = 400 if set(codings) <= {b"chunked", b""} else 501
    raise Refused(status, f"transfer-encoding: {shown(transfer)}; accepted: chunked")


def _bad_line(raw: bytes) -> Refused:
    line = raw.partition(b"\r\n")[0]
    return Refused(400, f"request line: {shown(line)}; accepted: METHOD target HTTP/1.1")


def _bad_head(raw: bytes, error: httptools.HttpParserError) -> Refused:
    """Why llhttp refused these bytes."""
    line = _LINE.match(raw)
    if line is not None and line[3] not in (b"1.0", b"1.1"):
        return Refused(505, f"version: HTTP/{line[3].decode()}; accepted: HTTP/1.1 and HTTP/1.0")
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return Refused(501, f"method: {shown(raw.partition(b' ')[0])} is not known")
    return Refused(400, f"head: {error}")
