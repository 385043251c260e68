"""The client for asynchronous programs."""

from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self, TypeVar

import msgspec

from driftloop.bus import requests as bus_requests
from driftloop.bus.connection import Connection
from driftloop.bus.identity import Login, from_file
from driftloop.client.data import Data, batches_of, plain_value, rows_of
from driftloop.client.sending import (
    OnReport,
    Progress,
    Report,
    SendOne,
    Sent,
    Window,
    insist,
    refuses,
)
from driftloop.contracts import batches, headers, requests
from driftloop.contracts.errors import DriftloopError, InvalidInput, Reject
from driftloop.contracts.names import new_id
from driftloop.contracts.requests import Accepted, Prediction

BATCH_ROWS = 1024
MOST_BYTES = 4 << 20

T = TypeVar("T")

_accepted = msgspec.msgpack.Decoder(Accepted)
_prediction = msgspec.msgpack.Decoder(Prediction)


What = Literal["rows", "labels"]


class Encoded(NamedTuple):
    """A batch as it is sent: its rows, the index of the first, and its bytes."""

    first: int
    rows: int
    payload: bytes


class Client:
    """Rows and labels in, predictions out, over NATS requests; no JetStream rights are needed.

    A batch is sent again under its id until the log has it or `deadline` seconds have passed, so a
    restart of a service or of the broker loses and doubles nothing. At most `window` batches are in
    flight, so a slow log slows the reading of the data down. Batches in flight may change places
    when one has to be sent again; `window=1` keeps their order whatever happens.

    `key` is the file of the key to log in with, such as `.driftloop/keys/client.nk`; an open server
    wants none. `ca` is the file of the authority (PEM) of the server's certificate, for TLS.
    """

    def __init__(
        self,
        url: str = "nats://127.0.0.1:4222",
        *,
        key: str | Path = "",
        ca: str | Path = "",
        name: str = "client",
        window: int = 8,
        timeout: float = 5.0,
        deadline: float = 120.0,
    ) -> None:
        identity = from_file(Path(key)) if key else None
        self._connection = Connection(url, name, login=Login(identity, ca=str(ca)))
        self._window = window
        self._timeout = timeout
        self._deadline = deadline

    async def __aenter__(self) -> Self:
        await self._connection.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._connection.close()

    async def send_rows(
        self,
        model: str,
        data: Data,
        *,
        batch_rows: int = BATCH_ROWS,
        key: str = "",
        on_progress: Progress | None = None,
        on_report: OnReport | None = None,
    ) -> Sent:
        """Send rows in batches; see `Data` for what they may be held in.

        `key` names the data: sent again under it within 10 minutes, also by another process, the
        same data in the same batches is stored once. A batch that is refused raises its error, and
        the rest is given up; with `on_report` it is reported, and the rest is sent.
        """
        source, send_one = self._sending("rows", model, data, batch_rows, key)
        return await Window(self._window).send(source, send_one, on_progress, on_report)

    async def send_labels(
        self,
        model: str,
        data: Data,
        *,
        batch_rows: int = BATCH_ROWS,
        key: str = "",
        on_progress: Progress | None = None,
        on_report: OnReport | None = None,
    ) -> Sent:
        """Send labels: `event_id`, `label` and, if known, `label_time`; else like `send_rows`."""
        source, send_one = self._sending("labels", model, data, batch_rows, key)
        return await Window(self._window).send(source, send_one, on_progress, on_report)

    def deliver_rows(
        self, model: str, data: Data, *, batch_rows: int = BATCH_ROWS, key: str = ""
    ) -> AsyncGenerator[Report, None]:
        """Send rows as `send_rows` does; what became of each batch, as soon as that is known.

        Reports may come in another order than batches. A refused batch is a report, any other
        error is raised. Batches are sent no faster than reports are read; an `aclose` before the
        end gives up what has no report yet.
        """
        return Window(self._window).reports(*self._sending("rows", model, data, batch_rows, key))

    def deliver_labels(
        self, model: str, data: Data, *, batch_rows: int = BATCH_ROWS, key: str = ""
    ) -> AsyncGenerator[Report, None]:
        """Send labels as `send_labels` does; else like `deliver_rows`."""
        return Window(self._window).reports(*self._sending("labels", model, data, batch_rows, key))

    async def predict(self, model: str, rows: Data) -> Prediction:
        """The champion's answers for rows by feature name."""
        given = [row async for row in rows_of(rows)]
        payload = msgspec.msgpack.encode({"rows": given}, enc_hook=plain_value)
        subject = requests.infer(model)
        return _decode(
            _prediction, await self._ask(subject, payload, {"content-type": headers.MSGPACK})
        )

    def _sending(
        self, what: What, model: str, data: Data, batch_rows: int, key: str
    ) -> tuple[AsyncIterator[Encoded], SendOne[Encoded]]:
        """The batches to send, and what sends one of them."""
        if batch_rows < 1:
            raise InvalidInput(f"batch_rows: {batch_rows}; accepted: a whole number above 0")
        subject, prefix = requests.send(model, what), key or new_id()
        most = min(MOST_BYTES, self._connection.nc.max_payload // 2)

        async def send_one(number: int, batch: Encoded) -> Report:
            named = f"{prefix}-{number}"
            sent = {"content-type": headers.ARROW, requests.BATCH_ID: named}
            report = Report(batch=named, first=batch.first, rows=batch.rows)
            try:
                reply = await self._ask(subject, batch.payload, sent)
            except DriftloopError as error:
                if refuses(error):
                    return msgspec.structs.replace(report, error=error)
                raise
            said = _decode(_accepted, reply)
            return msgspec.structs.replace(report, accepted=said.accepted, duplicate=said.duplicate)

        return _encoded(data, batch_rows, most), send_one

    async def _ask(self, subject: str, payload: bytes, sent: dict[str, str]) -> bytes:
        most = self._connection.nc.max_payload
        if len(payload) > most:
            raise InvalidInput(
                f"rows: {len(payload)} bytes in one request; accepted: at most {most}"
            )

        async def ask() -> bytes:
            reply = await bus_requests.ask(
                self._connection, subject, payload, headers=sent, timeout=self._timeout
            )
            return reply.payload

        return await insist(ask, self._deadline)


async def _encoded(data: Data, rows: int, most_bytes: int) -> AsyncIterator[Encoded]:
    first = 0
    async for batch in batches_of(data, rows, most_bytes):
        yield Encoded(first, batch.num_rows, batches.encode(batch))
        first += batch.num_rows


def _decode(decoder: msgspec.msgpack.Decoder[T], payload: bytes) -> T:
    try:
        return decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise Reject(
            f"answer: {error}; accepted: MessagePack of this version of Driftloop"
        ) from error
