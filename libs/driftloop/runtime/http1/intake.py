"""The input of one connection, and the requests in it."""

import logging
import re
from typing import TYPE_CHECKING, Final

from driftloop.runtime.http1.chunked import Chunked
from driftloop.runtime.http1.heads import Head
from driftloop.runtime.http1.refusals import Refused

if TYPE_CHECKING:
    from driftloop.runtime.http1.pool import Pool

log = logging.getLogger(__name__)

_BARE: Final = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")


class Intake:
    """Bytes as they come in; whole requests as they are taken out."""

    __slots__ = ("_body", "_pool", "_scanned", "_skipped", "data", "head")

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self.data = bytearray()
        """What came and is not taken."""
        self.head: Head | None = None
        """The request whose body is being read."""
        self._body: Chunked | None = None
        self._scanned = 0  # bytes of the data known not to end the head
        self._skipped = False  # the one empty line allowed before a request was there

    def __bool__(self) -> bool:
        return bool(self.data) or self.head is not None

    def __len__(self) -> int:
        return len(self.data) + (len(self._body.body) if self._body is not None else 0)

    def clear(self) -> None:
        """Forget everything."""
        self.data.clear()
        self.head = self._body = None

    def find(self) -> Head | None:
        """The head at the front; None if it is not whole. Raises `Refused`."""
        if self.head is not None:
            return self.head
        data, most = self.data, self._pool.limits.head_bytes
        if not self._skipped and data[:2] == b"\r\n":
            del data[:2]
            self._skipped = True
        end = data.find(b"\r\n\r\n", max(0, self._scanned - 3)) + 4
        if end < 4 or end > most:
            self._unfinished(most)
            return None
        raw = bytes(memoryview(data)[:end])
        del data[:end]
        self._scanned, self._skipped = 0, False
        self.head = self._pool.heads.young.get(raw) or self._read(raw)
        if self.head.chunked:
            self._body = Chunked(self._pool.limits.body_bytes)
        return self.head

    def body(self, head: Head) -> bytes | None:
        """The body of this request, which is then taken out; None if it is not whole.

        Raises `Refused`.
        """
        if self._body is not None:
            if not self._body.feed(self.data):
                return None
            body = bytes(self._body.body)
        elif len(self.data) < head.length:
            return None
        else:
            body = bytes(memoryview(self.data)[: head.length])
            del self.data[: head.length]
        self.head = self._body = None
        return body

    def _unfinished(self, most: int) -> None:
        """Refuse data that cannot become a head any more."""
        data = self.data
        if len(data) > most:
            if data.find(b"\r\n", 0, most) < 0:
                raise Refused(414, f"request line: more than {most} bytes")
            raise Refused(431, f"head: more than {most} bytes")
        if _BARE.search(data, max(0, self._scanned - 1)):
            raise Refused(400, "head: CR or LF that does not end a line")
        self._scanned = len(data)

    def _read(self, raw: bytes) -> Head:
        try:
            return self._pool.heads.read(raw)
        except Refused as refused:
            refused.head_only = raw.startswith(b"HEAD ")
            raise
        except Exception as error:
            log.exception("no route for a request")
            raise Refused(500, f"no route: internal error ({type(error).__name__})") from error
