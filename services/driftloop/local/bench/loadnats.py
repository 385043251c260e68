"""Load over NATS request-reply: the protocol itself over a socket, so that the client is no limit.

Client protocol: https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

import asyncio
import secrets
import time
from typing import Final

import uvloop

from driftloop.local.bench.job import DRAIN_SECONDS, Job, Told, answered, given, say
from driftloop.local.bench.window import Window, connected, load

CONNECT: Final = (
    b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n'
)
PLAIN: Final = b"NATS/1.0\r\n"
"""How headers without a status begin; an answer with a status is none."""
FAILED: Final = b"dl-error:"


class NatsWindow(Window):
    """Requests whose reply subject ends with their slot."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._inbox = b"_INBOX.%s." % secrets.token_hex(8).encode()
        self._start = b"HPUB %s %s" % (job.subject.encode(), self._inbox)
        lines = "".join(f"{name}: {value}\r\n" for name, value in job.headers.items())
        head = b"%s%s\r\n" % (PLAIN, lines.encode())
        size = len(head)
        self._ends = [
            b" %d %d\r\n%s%s\r\n" % (size, size + len(body), head, body) for body in job.read()
        ]
        self._next = 0
        self._left = b""
        self._sent = [0.0] * job.in_flight
        self.keep: list[bytes] | None = None
        """Answers, where they are wanted."""

    def greet(self) -> bytes:
        """Subscribe to the answers; the PONG says that the server has done it."""
        return CONNECT + b"SUB %s* 1\r\nPING\r\n" % self._inbox

    def request(self, slot: int) -> bytes:
        """The next body, to be answered at the slot."""
        at = self._next
        self._next = (at + 1) % len(self._ends)
        self._sent[slot] = time.perf_counter()
        return b"%s%d%s" % (self._start, slot, self._ends[at])

    def data_received(self, data: bytes) -> None:
        """Answers, and what else the server says."""
        data = self._left + data if self._left else data
        at, out = 0, []
        while (end := data.find(b"\r\n", at)) >= 0:
            if data[at] in b"MH":
                words = data[at:end].split()
                stop = end + 2 + int(words[-1])
                if stop + 2 > len(data):
                    break
                out.append(self._answer(words, data[end + 2 : stop]))
                at = stop + 2
                continue
            out.append(self._control(data[at:end]))
            at = end + 2
        self._left = data[at:]
        if said := b"".join(out):
            self.transport.write(said)

    def _control(self, line: bytes) -> bytes:
        if line.startswith(b"PING"):
            return b"PONG\r\n"
        if line.startswith(b"PONG"):
            self.ready.set()
        elif line.startswith(b"-ERR"):
            self.problem = line.decode(errors="replace")
        return b""

    def _answer(self, words: list[bytes], payload: bytes) -> bytes:
        slot, why = int(words[1][len(self._inbox) :]), ""
        if words[0] == b"HMSG":
            size = int(words[-2])
            head, payload = payload[:size], payload[size:]
            if not head.startswith(PLAIN) or FAILED in head.lower():
                why = (payload or head.partition(b"\r\n")[0]).decode(errors="replace")
        if self.keep is not None:
            self.keep.append(payload)
        return self.ended(slot, self._sent[slot], why)


async def run(job: Job) -> Told:
    """The job over one connection."""
    window = await connected(lambda: NatsWindow(job), job.address)
    return await (_ask(window, job.ask) if job.ask else load(window, job))


async def _ask(window: NatsWindow, count: int) -> Told:
    window.keep = []
    for _ in range(count):
        window.begin(1)
        window.sending = False
        async with asyncio.timeout(DRAIN_SECONDS):
            await window.idle.wait()
        if window.problem:
            return Told(error=window.problem)
    return answered(window.keep)


def main() -> None:
    """Do the job on standard input."""
    say(uvloop.run(run(given())))


if __name__ == "__main__":
    main()
