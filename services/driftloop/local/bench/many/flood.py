"""Sends rows of one model as fast as they are taken, until it is ended; a process of its own.

`python -m driftloop.local.bench.many.flood rows|http ADDRESS MODEL ROWS IN_FLIGHT` prints the rows
taken so far, a line each half second. MODEL is the number of the model.
"""

import asyncio
import contextlib
import itertools
import sys
import time

import httpx
import numpy as np

from driftloop.bus.bus import Bus
from driftloop.contracts import requests
from driftloop.contracts.batches import encode
from driftloop.contracts.errors import Retry
from driftloop.contracts.headers import ARROW
from driftloop.local.bench import bodies
from driftloop.local.bench.many.models import Known, known
from driftloop.runtime.niceness import be_nice, let_session_be_nice

TOLD_SECONDS = 0.5
BUSY_SECONDS = 0.02
NICE = 10


class Flood:
    """Counts what was taken; the senders of both doors."""

    def __init__(self, model: Known, rows: int) -> None:
        self.taken = 0
        self._model = model
        self._rows = rows
        self._numbers = itertools.count()

    async def rows(self, bus: Bus) -> None:
        """Send batches to ingest, one after the other; a refusal is tried again soon."""
        matrix = self._model.rows(self._rows, 0)
        subject = requests.send(self._model.name, "rows")
        while True:
            batch = f"flood-{time.time_ns()}-{next(self._numbers)}"
            ids = [f"{batch}:{at}" for at in range(self._rows)]
            payload = encode(self._model.batch(matrix, ids, int(time.time() * 1000)))
            headers = {"content-type": ARROW, requests.BATCH_ID: batch}
            while True:
                try:
                    await bus.ask(subject, payload, headers=headers, timeout=30.0)
                    break
                except Retry:
                    await asyncio.sleep(BUSY_SECONDS)
            self.taken += self._rows

    async def http(self, client: httpx.AsyncClient) -> None:
        """Ask for answers, one request after the other."""
        rows = self._model.rows(self._rows, 0).astype(np.float64)
        made = bodies.requests("v2", self._model.name, [rows])
        path = f"/v2/models/{self._model.name}/infer"
        while True:
            answer = await client.post(path, content=made.bodies[0], headers=made.headers)
            if answer.status_code == httpx.codes.OK:
                self.taken += self._rows
            else:
                await asyncio.sleep(BUSY_SECONDS)

    async def tell(self) -> None:
        """Print what was taken, over and over."""
        while True:
            sys.stdout.write(f"{self.taken}\n")
            sys.stdout.flush()
            await asyncio.sleep(TOLD_SECONDS)


async def main(kind: str, address: str, number: int, rows: int, in_flight: int) -> None:
    """Flood until the process is ended; it stands for another machine, so it gives way on ours."""
    be_nice(NICE)
    session = asyncio.create_task(let_session_be_nice(NICE))
    its = Flood(known(number + 1)[-1], rows)
    async with contextlib.AsyncExitStack() as stack:
        if kind == "rows":
            bus = await Bus.open(address, "flood")
            stack.push_async_callback(bus.close)
            senders = [its.rows(bus) for _ in range(in_flight)]
        else:
            client = httpx.AsyncClient(base_url=address, timeout=30.0)
            await stack.enter_async_context(client)
            senders = [its.http(client) for _ in range(in_flight)]
        await asyncio.gather(its.tell(), session, *senders)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])))
