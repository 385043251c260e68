"""Request targets and hosts (RFC 9112, section 3), checked and taken apart."""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from driftloop.runtime.http1.refusals import Refused, shown

_ABSOLUTE: Final = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?]+)(/[^?]*)?(?:\?(.*))?")
_HOST: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL: Final = re.compile(r"[\x00\r\n]")


def check_host(host: bytes | None, version: str) -> None:
    """Raise `Refused` (400) for a missing host in HTTP/1.1, and for one that is not a host."""
    if host is None:
        if version == "1.1":
            raise Refused(400, "host: missing; accepted: one in every HTTP/1.1 request")
    elif not _HOST.fullmatch(host):
        raise Refused(400, f"host: {shown(host)}; accepted: name[:port]")


def split_target(method: bytes, target: bytes) -> tuple[str, bytes, bytes]:
    """Path (decoded), path as sent, and query of a target in origin, absolute or asterisk form.

    Raises `Refused`: 501 for CONNECT, 400 for any other form, a broken escape, a path that is not
    UTF-8, and one with NUL, CR or LF in it.
    """
    if method == b"CONNECT":
        raise Refused(501, "method: CONNECT is not served")
    if target[:1] == b"/":
        raw, _, query = target.partition(b"?")
    elif target == b"*" and method == b"OPTIONS":
        return "*", b"*", b""
    else:
        found = _ABSOLUTE.fullmatch(target)
        if found is None or not _HOST.fullmatch(found[1]):
            raise Refused(400, f"target: {shown(target)}; accepted: /path or http://host/path")
        raw, query = found[2] or b"/", found[3] or b""
    return _decoded(raw), raw, query


def _decoded(raw: bytes) -> str:
    if b"%" not in raw:
        return raw.decode("ascii")
    if _BAD_ESCAPE.search(raw):
        raise Refused(400, f"path: {shown(raw)}; accepted: % only before two hexadecimal digits")
    try:
        path = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError as error:
        raise Refused(400, f"path: {shown(raw)}; accepted: UTF-8") from error
    if _CONTROL.search(path):
        raise Refused(400, f"path: {shown(raw)}; accepted: no NUL, CR or LF")
    return path
