"""The client for programs without an event loop: the same methods, on a loop in a thread."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from driftloop.client.client import BATCH_ROWS, Client
from driftloop.client.data import Data
from driftloop.client.sending import OnReport, Progress, Report, Sent
from driftloop.contracts.requests import Prediction

R = TypeVar("R")


class SyncClient:
    """Like `Client`, also for several threads; it calls back in the thread of its loop."""

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
        self._make = partial(
            Client,
            url,
            key=key,
            ca=ca,
            name=name,
            window=window,
            timeout=timeout,
            deadline=deadline,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="driftloop", daemon=True
        )
        self._client: Client | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._client = self._run(self._open())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._run(self._opened.__aexit__(kind, error, trace))
        finally:
            self._end()

    def send_rows(
        self,
        model: str,
        data: Data,
        *,
        batch_rows: int = BATCH_ROWS,
        key: str = "",
        on_progress: Progress | None = None,
        on_report: OnReport | None = None,
    ) -> Sent:
        """See `Client.send_rows`."""
        sending = self._opened.send_rows(
            model,
            data,
            batch_rows=batch_rows,
            key=key,
            on_progress=on_progress,
            on_report=on_report,
        )
        return self._run(sending)

    def send_labels(
        self,
        model: str,
        data: Data,
        *,
        batch_rows: int = BATCH_ROWS,
        key: str = "",
        on_progress: Progress | None = None,
        on_report: OnReport | None = None,
    ) -> Sent:
        """See `Client.send_labels`."""
        sending = self._opened.send_labels(
            model,
            data,
            batch_rows=batch_rows,
            key=key,
            on_progress=on_progress,
            on_report=on_report,
        )
        return self._run(sending)

    def deliver_rows(
        self, model: str, data: Data, *, batch_rows: int = BATCH_ROWS, key: str = ""
    ) -> Iterator[Report]:
        """See `Client.deliver_rows`; closing the iterator is what `aclose` is there."""
        opened = self._opened
        return self._each(opened.deliver_rows(model, data, batch_rows=batch_rows, key=key))

    def deliver_labels(
        self, model: str, data: Data, *, batch_rows: int = BATCH_ROWS, key: str = ""
    ) -> Iterator[Report]:
        """See `Client.deliver_labels`, and `deliver_rows` here."""
        opened = self._opened
        return self._each(opened.deliver_labels(model, data, batch_rows=batch_rows, key=key))

    def predict(self, model: str, rows: Data) -> Prediction:
        """See `Client.predict`."""
        return self._run(self._opened.predict(model, rows))

    def _each(self, reports: AsyncGenerator[Report, None]) -> Iterator[Report]:
        async def following() -> Report | None:
            return await anext(reports, None)

        try:
            while (report := self._run(following())) is not None:
                yield report
        finally:
            if self._client is not None:
                self._run(reports.aclose())

    async def _open(self) -> Client:
        return await self._make().__aenter__()

    @property
    def _opened(self) -> Client:
        if self._client is None:
            raise ConnectionError(
                "the client is not open; use it as `with SyncClient(url) as client:`"
            )
        return self._client

    def _run(self, work: Coroutine[Any, Any, R]) -> R:
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result()
        except BaseException:  # Ctrl-C in this thread ends the work in the other
            running.cancel()
            raise

    async def _give_up(self) -> None:
        """End what is under way still: reports that nobody reads on."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._loop.shutdown_asyncgens()

    def _end(self) -> None:
        self._client = None
        self._run(self._give_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
