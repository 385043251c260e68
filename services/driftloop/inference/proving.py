"""Proves what is about to be loaded, and says what was refused: once for a version and reason."""

import asyncio
import logging
from collections import OrderedDict
from typing import Final

from driftloop.artifacts import signing
from driftloop.artifacts.promotions import newest_number
from driftloop.bus.bus import Bus
from driftloop.contracts import subjects
from driftloop.contracts.errors import DriftloopError
from driftloop.contracts.events import ModelRefused
from driftloop.contracts.integrity import ServedRole
from driftloop.contracts.names import digest
from driftloop.contracts.state import ModelState, Promotion, Version
from driftloop.runtime import metrics

log = logging.getLogger(__name__)

SAID: Final = 1_024
"""Refusals remembered; the oldest is forgotten, and said again when it comes again."""
UNDER_WAY: Final = 64
"""Refusals on their way to the log at once; what is more is counted, not said."""
UNSAID: Final = metrics.counter("refusals_unsaid", "Refused versions that no event tells of")


class Proofs:
    """What this process has proved, and what it has refused. Without keys all is proved."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._proved: dict[str, tuple[Promotion | None, Version | None]] = {}
        self._newest: dict[str, int] = {}
        self._said: OrderedDict[str, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    async def state(self, model: str) -> tuple[ModelState | None, str]:
        """What the registry says of a model, and what is wrong with its champion.

        It is read again if something is: a newer promotion may have come meanwhile.
        """
        for _ in range(2):
            state: ModelState | None = (await self._bus.models.read(model)).value
            unproved = await self.champion(model, state)
            if not unproved:
                break
        return state, unproved

    async def champion(self, model: str, state: ModelState | None) -> str:
        """Why the champion of a state may not answer; empty if it may, or if there was never one.

        Its promotion must not be older than the newest that was seen, here or in the log.
        """
        if self._bus.trust is None:
            return ""
        if state is None or not state.champion:
            newest = self._newest.get(model, 0)
            return f"no champion, after promotion {newest} of {model}" if newest else ""
        about = state.promotion, state.versions.get(state.champion)
        if self._proved.get(model) == about:
            return ""
        problem = signing.champion_problem(self._bus.trust, state)
        if problem or state.promotion is None:
            return problem
        number = state.promotion.number
        newest = max(self._newest.get(model, 0), await newest_number(self._bus, model))
        if number < newest:
            return (
                f"promotion {number} of {model} (version {state.champion}) is an old one; "
                f"accepted: {newest} or later"
            )
        self._newest[model], self._proved[model] = number, about
        return ""

    def version(self, model: str, number: int, version: Version) -> str:
        """Why a version may not be loaded beside the champion; empty if it may."""
        return signing.version_problem(self._bus.trust, model, number, version)

    def shadows(self, state: ModelState | None) -> dict[int, str]:
        """The shadows of a state that may not be loaded, and why, by the version they claim."""
        if self._bus.trust is None or state is None:
            return {}
        found: dict[int, str] = {}
        for shadow in state.shadows:
            version = state.versions.get(shadow.version)
            if version is not None:
                problem = self.version(state.model, shadow.version, version)
                if problem:
                    found[version.manifest.version] = problem
        return found

    def refused(self, model: str, version: int, role: ServedRole, reason: str) -> None:
        """Say in an event that a version was not loaded, unless that was said."""
        about = digest(f"{role} {reason}".encode())[:16]
        event = ModelRefused(model=model, version=version, role=role, reason=reason, sha256=about)
        if event.event_id() in self._said:
            return
        if len(self._tasks) >= UNDER_WAY:
            UNSAID.inc()
            return
        self._said[event.event_id()] = None
        while len(self._said) > SAID:
            self._said.popitem(last=False)
        task = asyncio.get_running_loop().create_task(self._say(event), name="refusal")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Leave what is not said."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _say(self, event: ModelRefused) -> None:
        try:
            last = await self._bus.log.last("EVENTS", subjects.event(event.model, event.kind))
            if last is None or last.event_id != event.event_id():
                await self._bus.emit(event)
        except DriftloopError as error:
            self._said.pop(event.event_id(), None)
            UNSAID.inc()
            log.warning("%s: nothing was said of a refused version: %s", event.model, error)
