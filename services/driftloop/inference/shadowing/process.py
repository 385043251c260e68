"""The service's end of one shadow process: starts it, writes to it, reads it, ends it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Final

import numpy as np
import psutil

from driftloop.contracts.batches import Matrix
from driftloop.inference.shadowing import frames
from driftloop.inference.shadowing.frames import Header
from driftloop.runtime.settings import environment_of_child

PIECE: Final = 256 << 10
"""Bytes of a model written at once."""
ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class BadFrame(Exception):
    """The process said something that is no answer to what it was sent."""


class Process:
    """A running shadow process and the line to it."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def load(self, data: bytes, features: int, width: int) -> None:
        """Send the model, a piece at a time."""
        self._writer.write(Header(frames.MODEL, 0, features, width, len(data)).encode())
        view = memoryview(data)
        for at in range(0, len(data), PIECE):
            self._writer.write(view[at : at + PIECE])
            await self._writer.drain()

    def send(self, job: int, matrix: Matrix) -> None:
        """Send a matrix, which is not to change before it is answered.

        Does not wait: what the line does not take at once is kept, one matrix at most.
        """
        rows, columns = matrix.shape
        whole = np.ascontiguousarray(matrix, np.float32)
        self._writer.write(Header(frames.JOB, job, rows, columns, whole.nbytes).encode())
        if whole.size:
            self._writer.write(whole.data.cast("B"))

    async def receive(self) -> Header:
        """The next header; raises `EOFError` when the process has ended."""
        return frames.decode(await self._reader.readexactly(frames.HEADER_BYTES))

    async def text(self, header: Header) -> str:
        """The text after a header."""
        if header.length > frames.TEXT_BYTES:
            raise BadFrame(f"a text of {header.length} bytes")
        return (await self._reader.readexactly(header.length)).decode(errors="replace")

    async def matrix(self, header: Header, most: int) -> Matrix:
        """The matrix after a header, of `most` bytes at most."""
        if header.length > most or header.length != header.rows * header.columns * 4:
            raise BadFrame(f"{header.length} bytes of answers, {most} at most were expected")
        raw = await self._reader.readexactly(header.length)
        return np.frombuffer(raw, np.float32).reshape(header.rows, header.columns)

    def resident(self) -> int:
        """Its resident memory (bytes); 0 once it has ended."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def kill(self) -> None:
        """End it now; its line ends then."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def end(self) -> int:
        """Kill it if it still runs, and wait until it is gone; the exit code."""
        return await _gone(self._process)


@contextlib.asynccontextmanager
async def started(
    command: Sequence[str], megabytes: int, accepted: str = ""
) -> AsyncIterator[Process]:
    """A process for the block, gone when it is left. The environment has no settings of ours.

    `accepted` are the limits of its model's file, as JSON; empty: the usual ones.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        process = await asyncio.create_subprocess_exec(
            *command,
            str(theirs.fileno()),
            str(megabytes),
            accepted,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            env=environment_of_child(ENVIRONMENT),
        )
        try:
            theirs.close()
            reader, writer = await asyncio.open_connection(sock=ours)
            with contextlib.closing(writer):
                yield Process(process, reader, writer)
        finally:
            await _gone(process)


async def _gone(process: asyncio.subprocess.Process) -> int:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    return await process.wait()
