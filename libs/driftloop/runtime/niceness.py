"""How far a process gives way to others on its machine."""

import asyncio
import contextlib
import logging
import os
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

SESSION: Final = Path("/proc/self/autogroup")
TRIES: Final = 60
AGAIN_SECONDS: Final = 0.25


def be_nice(level: int) -> None:
    """Give way by `level` (0 to 19, sched(7)), and all threads and children from now on.

    A process that gives way further already stays as it is.
    """
    with contextlib.suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, 0) < level:
            os.setpriority(os.PRIO_PROCESS, 0, level)


async def let_session_be_nice(level: int) -> None:
    """Let the session of this process give way too, if this process began it.

    Where Linux shares the cores out among sessions first (autogroups, sched(7)), the nice value of
    a process counts within its own only. The kernel takes one such wish of all processes in a tenth
    of a second, so it is tried again. Where there is no such thing, nothing is done.
    """
    if not level or os.getsid(0) != os.getpid() or not SESSION.exists():
        return
    for _ in range(TRIES):
        try:
            SESSION.write_text(str(level))
            return
        except BlockingIOError:
            await asyncio.sleep(AGAIN_SECONDS)
        except OSError as error:
            log.debug("%s: %s", SESSION, error)
            return
