"""Watches NATS and the services of one machine, and starts again what died or hangs."""

import asyncio
import logging
import shutil
import time
from typing import TYPE_CHECKING, Final

from driftloop.local.child import Child
from driftloop.local.readiness import answers

if TYPE_CHECKING:
    from driftloop.local.system import System

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.1
NATS_BACK_OFF: Final = 1.0
LONGEST_BACK_OFF: Final = 30.0
STEADY_SECONDS: Final = 30.0
ASK_SECONDS: Final = 2.0
"""How often each service is asked whether it lives."""
ANSWER_SECONDS: Final = 4.0
ROOM_BYTES: Final = 16 << 20
"""Free on the disk from which on NATS is tried again."""
START_SECONDS: Final = 60.0
"""How long it may take until a service answers for the first time."""


async def watch(system: "System") -> None:
    """Start again what died: at once the first time, later if it dies again soon.

    A service that hangs is killed, so that it is one of these.
    """
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_watch_dead(system))
        tasks.create_task(_watch_disk(system))
        if system.hang_seconds > 0:
            tasks.create_task(_watch_hanging(system))


async def _watch_dead(system: "System") -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            if not system.nats.alive():
                log.warning("nats-server died, starting it again")
                await system.start_nats()
            system.nats.refresh()
            for child in system.children.values():
                if not child.alive():
                    _start_again(system, child)
        except (RuntimeError, OSError) as error:
            log.warning("%s; trying again", error)
            await asyncio.sleep(NATS_BACK_OFF)


async def _watch_disk(system: "System") -> None:
    """Start NATS again when it could not write, as soon as there is room on the disk."""
    while True:
        await asyncio.sleep(ASK_SECONDS)
        try:
            await asyncio.to_thread(system.nats.look)
            free = shutil.disk_usage(system.data).free
        except OSError as error:
            log.warning("nats.log: %s", error)
            continue
        if system.nats.broken and free >= ROOM_BYTES:
            log.warning("nats-server could not write and now there is room, starting it again")
            await asyncio.to_thread(system.nats.stop)


async def _watch_hanging(system: "System") -> None:
    """Kill what has not answered for `hang_seconds`: a process may stand still and not die."""
    while True:
        await asyncio.sleep(min(ASK_SECONDS, system.hang_seconds / 4))
        await asyncio.gather(*(_ask(system, child) for child in system.children.values()))


async def _ask(system: "System", child: Child) -> None:
    process = child.process
    if process is None or not child.alive():
        return
    patience = min(ANSWER_SECONDS, system.hang_seconds / 2)
    if await asyncio.to_thread(answers, system.http(child.name), patience):
        child.answered = time.monotonic()
        return
    starting = child.answered < child.started
    since = time.monotonic() - (child.started if starting else child.answered)
    limit = max(START_SECONDS, system.hang_seconds) if starting else system.hang_seconds
    if since > limit and child.process is process:
        log.warning("%s has not answered for %.0f s, killing it", child.name, since)
        child.end_group()


def _start_again(system: "System", child: Child) -> None:
    now = time.monotonic()
    if not child.next_start:
        child.end_group()
        child.next_start = now + _back_off(child, now)
    if now >= child.next_start:
        child.next_start = 0.0
        child.cpu_before += child.usage[1]
        system.launch(child)


def _back_off(child: Child, now: float) -> float:
    code = child.process.returncode if child.process is not None else None
    steady = now - child.started > STEADY_SECONDS
    child.starts = 1 if steady else child.starts
    delay = 0.0 if child.starts <= 1 else min(0.5 * 2 ** (child.starts - 2), LONGEST_BACK_OFF)
    log.warning("%s ended (exit code %s), starting it again in %.1f s", child.name, code, delay)
    return delay
