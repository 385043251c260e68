"""Cross-origin requests (the Fetch standard): preflights, and what is added to answers."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from driftloop.runtime.problems import MEDIA_TYPE, problem_body

if TYPE_CHECKING:
    from driftloop.runtime.http1.exchange import Exchange
    from driftloop.runtime.http1.heads import Head

METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
MAX_AGE: Final = 600
"""Seconds a browser may remember a preflight."""

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/,*]+|null")
_NAMES = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z, \t-]*")


class Cors:
    """The origins whose pages may read answers: a list, or `*` alone for every origin.

    Raises `ValueError` for what is not an origin (scheme://host, a port if needed, no path).
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._all = "*" in origins
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"cors: {origin!r}; accepted: scheme://host[:port] or *")
        self._origins = frozenset(origin.encode() for origin in origins)

    def lines(self, head: "Head") -> bytes:
        """The header lines every answer to this request has."""
        if not self._origins:
            return b""
        if self._all:
            return b"access-control-allow-origin: *\r\naccess-control-expose-headers: *\r\n"
        origin = head.get(b"origin")
        if origin not in self._origins:
            return b"vary: origin\r\n"
        return (
            b"vary: origin\r\naccess-control-expose-headers: *\r\n"
            b"access-control-allow-origin: " + origin + b"\r\n"
        )

    def is_preflight(self, head: "Head") -> bool:
        """Whether a browser asks with this request whether it may send another."""
        return (
            bool(self._origins)
            and head.method == "OPTIONS"
            and bool(head.get(b"origin"))
            and bool(head.get(b"access-control-request-method"))
        )

    def preflight(self, exchange: "Exchange", _: bytes) -> None:
        """Answer a preflight: 204 with what is allowed, or 403. A handler of the server's own."""
        head = exchange.head
        origin = head.get(b"origin")
        if not self._all and origin not in self._origins:
            detail = f"origin: {origin[:200].decode('latin-1')} may not read answers of this server"
            exchange.answer(403, MEDIA_TYPE.encode(), problem_body(403, detail))
            return
        lines = b"access-control-allow-methods: %b\r\naccess-control-max-age: %d\r\n" % (
            METHODS,
            MAX_AGE,
        )
        asked = head.get(b"access-control-request-headers")
        if asked and _NAMES.fullmatch(asked):
            lines += b"access-control-allow-headers: " + asked + b"\r\n"
        exchange.answer(204, b"", b"", lines)
