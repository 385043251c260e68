"""Work that may hang, crash or leak, done in a child process with a time limit.

Children are forked from a clean server process that has imported what they need, so one costs some
milliseconds rather than seconds of imports, and a crash in it costs the service nothing.
"""

import asyncio
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import Any, TypeVar

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
        for name, value in (environment or {}).items():
            os.environ[name] = value

    async def run(self, limit: float, function: Callable[..., R], *arguments: Any) -> R:
        """`function(*arguments)` in a child, at most `limit` seconds; raises `ChildFailed`.

        Arguments and result must be picklable: they never leave this machine's processes.
        """
        return await asyncio.to_thread(self._run, limit, function, arguments)

    def _run(self, limit: float, function: Callable[..., R], arguments: tuple[Any, ...]) -> R:
        here, there = self._context.Pipe(duplex=False)
        child = self._context.Process(target=_child, args=(there, function, arguments), daemon=True)
        child.start()
        there.close()
        try:
            if not here.poll(limit):
                raise ChildFailed(f"gave no result within {limit:g} s and was ended")
            good, result = here.recv()
        except EOFError as error:
            child.join(5)
            raise ChildFailed(f"died: {_how(child.exitcode)}") from error
        finally:
            here.close()
            child.kill()
            child.join()
        if not good:
            raise ChildFailed(result)
        return result  # type: ignore[no-any-return]  # what the function returned in the child


def _child(out: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        out.send((True, function(*arguments)))
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        out.send((False, f"{type(error).__name__}: {error} ({last.name}, line {last.lineno})"))


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
