"""Load over HTTP at a fixed rate, whatever the answers take: latency counts from when it was due.

One thread and `select`, whose wait is exact to microseconds; those of event loops to milliseconds.
"""

import select
import socket
import time
from array import array
from collections import deque
from collections.abc import Sequence
from itertools import cycle
from urllib.parse import urlsplit

from driftloop.local.bench.job import DRAIN_SECONDS, Job, Stopwatch, Told, given, say

READ_BYTES = 1 << 16


class Line:
    """One connection with at most one request under way."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=DRAIN_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._got = b""

    def fileno(self) -> int:
        """For `select`."""
        return self.socket.fileno()

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was due at `due`."""
        self.due, self._got = due, b""
        self.socket.sendall(request)

    def receive(self) -> int:
        """The status once the whole answer is there, else 0; raises `ConnectionError` at its end.

        An answer needs a content-length, or chunks that end as RFC 9112 says.
        """
        data = self.socket.recv(READ_BYTES)
        if not data:
            raise ConnectionError("the server ended the connection")
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        if not found:
            return 0
        lines = head.lower().split(b"\r\n")
        sizes = [line.partition(b":")[2] for line in lines if line.startswith(b"content-length:")]
        whole = len(body) >= int(sizes[0]) if sizes else body.endswith(b"0\r\n\r\n")
        return int(head.split(b" ", 2)[1]) if whole else 0


def requests(job: Job) -> list[bytes]:
    """The requests as they go over the line."""
    address = urlsplit(job.address)
    path = (address.path or "/") + (f"?{address.query}" if address.query else "")
    fields = {"Host": address.netloc, **job.headers}
    head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items())
    return [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in job.read()]


class Pacer:
    """Sends each request when it is due, over a free connection as soon as there is one."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._free = deque(lines)
        self._busy: list[Line] = []
        self.latencies = array("d")
        self.errors = 0

    def run(self, texts: Sequence[bytes], rate: float, seconds: float) -> None:
        """Send `rate * seconds` requests; what is not answered in good time is an error."""
        turn, began = cycle(texts), time.perf_counter()
        for number in range(int(rate * seconds)):
            due = began + number / rate
            while (left := due - time.perf_counter()) > 0 or not self._free:
                if not self._receive(left if self._free else DRAIN_SECONDS) and not self._free:
                    raise ConnectionError(f"no answer within {DRAIN_SECONDS:g} s")
            line = self._free.popleft()
            line.send(next(turn), due)
            self._busy.append(line)
        while self._busy and self._receive(DRAIN_SECONDS):
            pass
        self.errors += len(self._busy)

    def _receive(self, seconds: float) -> bool:
        """Read what comes within so many seconds; whether anything came."""
        came = select.select(self._busy, [], [], seconds)[0]
        for line in came:
            status = line.receive()
            if not status:
                continue
            if status < 400:
                self.latencies.append(time.perf_counter() - line.due)
            else:
                self.errors += 1
            self._busy.remove(line)
            self._free.append(line)
        return bool(came)


def main() -> None:
    """Do the job on standard input."""
    job = given()
    address = urlsplit(job.address)
    lines = [Line(address.hostname or "", address.port or 80) for _ in range(job.in_flight)]
    pacer, texts = Pacer(lines), requests(job)
    watch = Stopwatch()
    pacer.run(texts, job.rate, job.seconds)
    watch.stop()
    say(Told(counts=watch.counts(pacer.latencies, pacer.errors)))


if __name__ == "__main__":
    main()
