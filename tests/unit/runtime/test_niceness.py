import os
import subprocess
import sys
from pathlib import Path

import pytest

from driftloop.runtime import niceness

AFTER = """
import asyncio, os, sys
from pathlib import Path
from driftloop.runtime.niceness import be_nice, let_session_be_nice
for level in map(int, sys.argv[1:]):
    be_nice(level)
    asyncio.run(let_session_be_nice(level))
session = Path("/proc/self/autogroup")
print(os.nice(0), *(session.read_text().split()[-1:] if session.exists() else []))
"""


def after(*levels: int, session: bool) -> list[str]:
    """How nice a process is, and its session, after it was to be as nice as each of these.

    The second is left out where the kernel has no autogroups, or names none for the process: what
    never began a session, as in a container whose first process did not, is in none.
    """
    command = [sys.executable, "-c", AFTER, *map(str, levels)]
    made = subprocess.run(
        command, check=True, capture_output=True, text=True, start_new_session=session, timeout=60
    )
    return made.stdout.split()


def test_a_process_gives_way_and_never_less_than_before() -> None:
    mine = os.nice(0)
    assert after(max(5, mine), session=False)[0] == str(max(5, mine))
    assert after(19, 5, session=False)[0] == "19"
    assert after(0, session=False)[0] == str(mine)


def test_the_session_gives_way_if_the_process_began_it() -> None:
    if len(after(0, session=True)) < 2:
        pytest.skip("a session here has no autogroup")
    mine = after(0, session=False)[1:]
    assert after(7, session=True)[1] == "7"
    assert after(7, session=False)[1:] == mine


async def test_where_there_are_no_autogroups_nothing_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(niceness, "SESSION", tmp_path / "autogroup")
    monkeypatch.setattr(os, "getsid", lambda _: os.getpid())
    await niceness.let_session_be_nice(7)
    assert not (tmp_path / "autogroup").exists()


async def test_a_wish_that_the_kernel_puts_off_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow:
        def __init__(self) -> None:
            self.wishes: list[str] = []

        def exists(self) -> bool:
            return True

        def write_text(self, wish: str) -> None:
            self.wishes.append(wish)
            if len(self.wishes) < 3:
                raise BlockingIOError

    session = Slow()
    monkeypatch.setattr(niceness, "SESSION", session)
    monkeypatch.setattr(niceness, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(os, "getsid", lambda _: os.getpid())
    await niceness.let_session_be_nice(7)
    assert session.wishes == ["7"] * 3
