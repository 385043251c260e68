"""Children that end in other ways than by returning; see also test_child.py."""

import asyncio
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from driftloop.contracts.errors import Retry
from driftloop.runtime.child import ChildFailed, Children


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def sleep_and_tell(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)


async def test_a_child_that_crashes_is_told_with_the_signal() -> None:
    with pytest.raises(ChildFailed, match="died: killed by SIGSEGV"):
        await Children().run(20, kill_itself)


async def test_closing_ends_what_runs_and_tells_to_try_again(tmp_path: Path) -> None:
    children, told = Children(), tmp_path / "pid"
    run = asyncio.create_task(children.run(60, sleep_and_tell, str(told)))
    async with asyncio.timeout(20):
        while not told.exists() or not told.read_text():  # noqa: ASYNC110  # another process writes it
            await asyncio.sleep(0.02)
    await children.close()
    with pytest.raises(Retry, match="the service is stopping"):
        await run
    assert not psutil.pid_exists(int(told.read_text()))
    with pytest.raises(Retry):
        await children.run(60, pow, 2, 2)
