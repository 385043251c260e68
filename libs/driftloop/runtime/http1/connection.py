"""One connection: takes requests out of its input one after another, and their answers in turn."""

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Final, cast

from driftloop.runtime.http1.answers import CONTINUE
from driftloop.runtime.http1.codings import inflate
from driftloop.runtime.http1.exchange import Exchange, address, fail, hand_on
from driftloop.runtime.http1.heads import Head
from driftloop.runtime.http1.intake import Intake
from driftloop.runtime.http1.refusals import REASONS, REFUSED, Refused

if TYPE_CHECKING:
    from driftloop.runtime.http1.pool import Pool

TURNS: Final = 64
"""Requests of one connection taken up before other connections have their turn."""

INFLATE_HERE: Final = 4096
"""Bytes of the largest body inflated in the event loop; a larger one goes to a thread."""


class Connection(asyncio.Protocol):
    """The protocol object of one client."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._find, self._new = pool.heads.young.get, pool.heads.fresh
        self.starts = pool.starts
        self.exchange: Exchange | None = None
        """The request that has no whole answer yet."""
        self.clear = True
        """The next data starts a request: nothing else is buffered, stalled or closing."""
        self._intake = Intake(pool)
        self._held = 0  # bytes reported to the pool
        self._pumping = self._paused = self._closing = self._eof = False
        self._stalled = self._reading = self._quiet = False
        self._since = self._idle_since = 0.0  # when reading, stalling or closing began; idling
        self._drain: asyncio.Future[None] | None = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet a client, or turn it away when too many are here."""
        self._transport = cast(asyncio.Transport, transport)
        self.write = self._transport.write
        self.client = address(transport.get_extra_info("peername"))
        self.local = address(transport.get_extra_info("sockname"))
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        if self.scheme == "http":  # else uvloop would send an answer only after the next poll
            self._transport.set_write_buffer_limits(high=0)
        self._idle_since = self._pool.loop.time()
        self._pool.add(self)

    def data_received(self, data: bytes) -> None:
        """Take up a whole request at once if this is one; else keep what came."""
        if self.clear and self.exchange is None:
            end = data.find(b"\r\n\r\n") + 4
            head = self._find(data[:end]) or self._new(data[:end])
            if head is not None and head.whole == len(data):
                self._quiet = False
                self.exchange = exchange = Exchange(self, head, perf_counter())
                try:
                    head.take(exchange, data[end:])
                except Exception as error:
                    fail(exchange, error)
                return
        self._quiet = False
        if not self._closing:
            self._intake.data += data
            self._account()
            self._pump()

    def eof_received(self) -> bool:
        """The client sends no more; it still gets the answers it waits for."""
        self._eof = True
        exchange = self.exchange
        gone = exchange is not None and exchange.gone is not None
        if self._closing or gone or self.scheme == "https" or not (exchange or self._intake):
            return False
        self.clear = False
        self.go_on()
        return True

    def connection_lost(self, _: Exception | None) -> None:
        """Forget everything."""
        self._closing, self.clear = True, False
        exchange, self.exchange = self.exchange, None
        self._intake.clear()
        self._account()
        self._pool.remove(self)
        self._undrain()
        if exchange is not None:
            exchange.lost()

    def pause_writing(self) -> None:
        """The client does not read its answers: no further request is taken up."""
        self._stalled, self.clear = True, False
        self._since = self._pool.loop.time()

    def resume_writing(self) -> None:
        """The client has read: go on."""
        self._stalled = False
        self._undrain()
        self.go_on()

    # What exchanges and the pool call.

    def keeps(self, head: Head) -> bool:
        """Whether the connection stays open after the answer to this request."""
        over = self._eof and not self._intake
        return head.keep_alive and not self._pool.stopping and not over

    def finish(self, keep: bool) -> None:
        """The answer is written."""
        self.exchange = None
        if not keep:
            self.close()
        elif not self.clear:
            self.go_on()

    def go_on(self) -> None:
        """Take up what waits in the input, once the caller is done."""
        if not self._pumping:
            self._pool.loop.call_soon(self._pump)

    def close(self, linger: bool = False) -> None:
        """Send what is written, then close; what the client sent in the meantime is dropped.

        With `linger`, or when there is such data, what still comes is read for a while.
        """
        if self._closing:
            return
        self._closing, self.clear = True, False
        self._since = self._pool.loop.time()
        unread = linger or bool(self._intake)
        self._intake.clear()
        self._account()
        if not unread or self._eof or self.scheme == "https":
            self._transport.close()
            return
        # Closing with data unread makes the kernel reset the connection, and the answer is lost.
        self._transport.write_eof()
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once."""
        self._closing, self.clear = True, False
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.closed = True
        self._transport.abort()

    def cut(self) -> None:
        """Close at once, whatever is under way; its exchange is told that the client is gone."""
        self._transport.abort()

    def refuse(self, refused: Refused) -> None:
        """Answer with a problem, and close."""
        REFUSED.labels(REASONS.get(refused.status, "error")).inc()
        head = self.exchange.head if self.exchange is not None else self._intake.head
        headers, head_only = refused.headers, refused.head_only
        if head is not None:
            headers, head_only = headers + head.extra, head.method == "HEAD"
        self.exchange = None
        self.write(self.starts.refusal(refused.status, refused.detail, headers, head_only))
        self.close(linger=True)

    async def drained(self) -> None:
        """Return when the client has read, or has gone; others have their turn in any case."""
        await asyncio.sleep(0)
        if self._stalled and not self._closing:
            if self._drain is None or self._drain.done():
                self._drain = self._pool.loop.create_future()
            await self._drain

    def idle(self) -> bool:
        """Nothing is under way."""
        return self.clear and self.exchange is None

    def sweep(self, now: float) -> None:
        """Close what has waited too long."""
        limits = self._pool.limits
        waited = now - self._since
        if self._closing:
            if waited > limits.write_seconds or (
                waited > limits.linger_seconds and not self._transport.is_closing()
            ):
                self._transport.abort()
        elif self._stalled:
            if waited > limits.write_seconds:
                REFUSED.labels("unread").inc()
                self._transport.abort()
        elif self.exchange is not None:
            pass  # a handler may take its time
        elif self._reading:
            if waited > limits.read_seconds:
                self.refuse(Refused(408, f"request: not whole after {limits.read_seconds:g} s"))
        elif not self._quiet:
            self._quiet, self._idle_since = True, now
        elif now - self._idle_since > limits.idle_seconds:
            self.close()

    def _pump(self) -> None:
        """Take up requests from the input until one is under way, or none is whole."""
        self._pumping = True
        try:
            for _ in range(TURNS):
                if self.exchange is not None or self._stalled or self._closing:
                    break
                if not self._take():
                    break
            else:
                self._pool.loop.call_soon(self._pump)
        except Refused as refused:
            self.refuse(refused)
        finally:
            self._pumping = False
        self._settle()

    def _take(self) -> bool:
        """Hand on the request at the front of the input; false if it is not whole."""
        intake = self._intake
        fresh = intake.head is None
        head = intake.find()
        if head is None:
            return False
        if fresh and head.expect_continue and not intake.data:
            self.write(CONTINUE)
        body = intake.body(head)
        if body is None:
            return False
        self._reading = False
        self.exchange = exchange = Exchange(self, head, perf_counter())
        if not (head.coding and body):
            hand_on(exchange, body)
        elif len(body) <= INFLATE_HERE:
            hand_on(exchange, inflate(head.coding, body, self._pool.limits.body_bytes))
        else:
            self._inflate(exchange, body)
        return True

    def _inflate(self, exchange: Exchange, body: bytes) -> None:
        """Inflate in a thread, then hand on."""

        def made(future: asyncio.Future[bytes]) -> None:
            if future.cancelled() or exchange.answered:
                return
            error = future.exception()
            if isinstance(error, Refused):
                self.refuse(error)
            elif isinstance(error, Exception):
                fail(exchange, error)
            else:
                hand_on(exchange, future.result())

        pool = self._pool
        limit, coding = pool.limits.body_bytes, exchange.head.coding
        pool.loop.run_in_executor(None, inflate, coding, body, limit).add_done_callback(made)

    def _settle(self) -> None:
        """After a change: what is read next, and what time counts."""
        if self._closing:
            return
        busy = self.exchange is not None or self._stalled
        part = bool(self._intake)
        self.clear = not part and not self._stalled
        reading = part and not busy
        if reading and not self._reading:
            self._since = self._pool.loop.time()
        self._reading = reading
        self._account()
        if self._eof and not busy:
            self.close()
        elif self._paused and not (busy and len(self._intake.data) > self._pool.limits.ahead_bytes):
            self._paused = False
            self._transport.resume_reading()
        elif busy and not self._paused and len(self._intake.data) > self._pool.limits.ahead_bytes:
            self._paused = True
            self._transport.pause_reading()

    def _account(self) -> None:
        """Tell the pool how much is held here, beyond what every connection may hold."""
        size = len(self._intake)
        size = size if size > self._pool.limits.ahead_bytes else 0
        if size != self._held:
            self._pool.held += size - self._held
            more, self._held = size > self._held, size
            if more and self._pool.held > self._pool.limits.held_bytes and self.exchange is None:
                detail = f"server: holds {self._pool.limits.held_bytes} bytes of bodies; come later"
                self.refuse(Refused(503, detail, b"retry-after: 1\r\n"))

    def _undrain(self) -> None:
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)
