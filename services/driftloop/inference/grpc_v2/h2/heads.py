"""What the fields of a request say of a call (gRPC over HTTP/2; RFC 9113, section 8)."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from driftloop.inference.grpc_v2.faults import Status
from driftloop.inference.grpc_v2.h2.hpack import Fields

LIST_BYTES: Final = 1 << 14
"""Largest list of fields, each counted with 32 bytes more, as the setting that says it counts."""
ENCODINGS: Final = ("identity", "gzip", "deflate")
_KEPT: Final = 256
_DEADLINE: Final = "grpc-timeout"
_TYPE: Final = re.compile(r"application/grpc(\+proto)?\s*(;.*)?", re.DOTALL)
_TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])", re.ASCII)
_SECONDS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_PSEUDO: Final = (":method", ":scheme", ":path", ":authority")
_OF_HTTP_1: Final = (
    *("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"),
)


class Head(NamedTuple):
    """What the fields of a request say; `timeout` in seconds, 0.0 is none.

    A `status` other than 0 refuses the call with `text`, and is counted as `reason`; an `http`
    other than 200 is the whole answer. `malformed` fields end the stream. `trailers` are fields
    that may end a request.
    """

    method: str = ""
    timeout: float = 0.0
    encoding: str = "identity"
    many: bool = False
    status: int = 0
    text: str = ""
    reason: str = ""
    http: int = 200
    malformed: str = ""
    trailers: bool = False
    authorization: bytes = b""


def reader(methods: Mapping[str, str], many: str) -> Callable[[Fields], Head]:
    """Reads the head of a call. `methods` are known by their path; `many` takes a stream.

    What was read is kept, but for the deadline, which is another with every call.
    """

    @functools.lru_cache(maxsize=_KEPT)
    def kept(fields: tuple[tuple[str, str], ...]) -> Head:
        return read(fields, methods, many)

    def head(fields: Fields) -> Head:
        timeout = [value for name, value in fields if name == _DEADLINE]
        if not timeout:
            return kept(tuple(fields))
        found = kept(tuple([field for field in fields if field[0] != _DEADLINE]))
        return _timed(found, timeout[-1]) if found.method else found

    return head


def read(fields: Sequence[tuple[str, str]], methods: Mapping[str, str], many: str) -> Head:
    """The head of a call without its deadline."""
    if sum([len(name) + len(value) + 32 for name, value in fields]) > LIST_BYTES:
        text = f"header fields: are too long; accepted: {LIST_BYTES} bytes"
        return _refused(Status.RESOURCE_EXHAUSTED, "fields", text)
    if why := _malformed(fields):
        return Head(malformed=why)
    if not any(name.startswith(":") for name, _ in fields):
        return Head(malformed="a request without pseudo-header fields", trailers=True)
    said = dict(fields)
    missing = [name for name in (":method", ":scheme", ":path") if not said.get(name)]
    if missing:
        return Head(malformed=f"{missing[0]} is missing")
    return _call(said, methods, many)


def _call(said: dict[str, str], methods: Mapping[str, str], many: str) -> Head:
    path, encoding = said[":path"], said.get("grpc-encoding", "identity")
    if said[":method"] != "POST":
        return Head(status=Status.UNIMPLEMENTED, reason="media_type", http=405)
    if not _TYPE.fullmatch(said.get("content-type", "")):
        return Head(status=Status.UNIMPLEMENTED, reason="media_type", http=415)
    method = methods.get(path)
    if method is None:
        text = f"{path[:80]}: there is no such method"
        return _refused(Status.UNIMPLEMENTED, "method", text)
    if encoding not in ENCODINGS:
        text = f"grpc-encoding: {encoding[:40]!r}; accepted: {', '.join(ENCODINGS)}"
        return _refused(Status.UNIMPLEMENTED, "encoding", text)
    token = said.get("authorization", "").encode()
    return Head(method, 0.0, encoding, method == many, authorization=token)


def _timed(head: Head, timeout: str) -> Head:
    """The head of a call with a deadline."""
    found = _TIMEOUT.fullmatch(timeout)
    if found is None:
        text = f"grpc-timeout: {timeout[:40]!r}; accepted: as in 250m"
        return _refused(Status.INVALID_ARGUMENT, "timeout", text)
    seconds = max(1e-9, int(found[1]) * _SECONDS[found[2]])
    return head._replace(timeout=seconds)


def _refused(status: int, reason: str, text: str) -> Head:
    return Head(status=status, text=text, reason=reason)


def _malformed(fields: Sequence[tuple[str, str]]) -> str:
    """Why the fields may not stand in a request (section 8.2 and 8.3), or an empty text."""
    seen: set[str] = set()
    regular = False
    for name, value in fields:
        if name.startswith(":"):
            if name not in _PSEUDO:
                return f"{name[:40]!r} is no pseudo-header field of a request"
            if regular or name in seen:
                return f"{name} stands twice, or behind other fields"
            seen.add(name)
            continue
        regular = True
        if not name or name != name.lower() or any(char in name for char in " :\r\n\0"):
            return f"{name[:40]!r} is no name of a field"
        if name in _OF_HTTP_1 or (name == "te" and value != "trailers"):
            return f"{name} belongs to HTTP/1"
        if any(char in value for char in "\r\n\0"):
            return f"{name[:40]} has a line end in its value"
    return ""
