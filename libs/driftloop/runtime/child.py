"""Work that may hang, crash or leak, done in a child process with a time limit.

Children are forked from a clean server process that has imported what they need, so one costs some
milliseconds rather than seconds of imports, and a crash in it costs the service nothing.
"""

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, TypeVar

from driftloop.contracts.errors import Retry

PR_SET_PDEATHSIG = 1

R = TypeVar("R")


class ChildFailed(Exception):
    """The child raised, died or ran out of time; the text says which."""


class Children:
    """Runs functions in child processes that have `preload` (module names) imported already."""

    def __init__(
        self, preload: tuple[str, ...] = (), environment: dict[str, str] | None = None
    ) -> None:
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        self._running: set[ForkServerProcess] = set()
        self._closed = False
        for name, value in (environment or {}).items():
            os.environ[name] = value

    async def close(self) -> None:
        """End the children; whoever waits for one is told to try again, with our successor."""
        self._closed = True
        for child in list(self._running):
            child.kill()

    async def run(self, limit: float, function: Callable[..., R], *arguments: Any) -> R:
        """`function(*arguments)` in a child, at most `limit` seconds; raises `ChildFailed`.

        Arguments and result must be picklable: they never leave this machine's processes. Raises
        `Retry` after `close`.
        """
        try:
            return await asyncio.to_thread(self._run, limit, function, arguments)
        except ChildFailed as error:
            if self._closed:
                raise Retry("the service is stopping") from error
            raise

    def _run(self, limit: float, function: Callable[..., R], arguments: tuple[Any, ...]) -> R:
        here, there = self._context.Pipe(duplex=False)
        child = self._context.Process(target=_child, args=(there, function, arguments), daemon=True)
        child.start()
        self._running.add(child)
        there.close()
        try:
            if self._closed:
                raise ChildFailed("was not begun")
            if not here.poll(limit):
                raise ChildFailed(f"gave no result within {limit:g} s and was ended")
            good, result = here.recv()
        except EOFError as error:
            child.join(5)
            raise ChildFailed(f"died: {_how(child.exitcode)}") from error
        finally:
            here.close()
            self._running.discard(child)
            child.kill()
            child.join()
        if not good:
            raise ChildFailed(result)
        return result  # type: ignore[no-any-return]  # what the function returned in the child


def _child(out: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):  # Linux: do not outlive a killed service
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        out.send((True, function(*arguments)))
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        out.send((False, f"{type(error).__name__}: {error} ({last.name}, line {last.lineno})"))


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
