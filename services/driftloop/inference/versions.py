"""The versions that answer now: read from the registry's state, loaded, and swapped in one step.

The state in KV is the truth. Events only say that it is time to look; so does the clock, since an
event may be lost.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.contracts.errors import Reject, Retry
from driftloop.contracts.events import Manifest
from driftloop.contracts.names import MODEL_NAME
from driftloop.contracts.subjects import model_of
from driftloop.inference.domain.lineup import Answers, Lineup, lineup
from driftloop.inference.session import Session
from driftloop.inference.shadow import Shadow
from driftloop.runtime import metrics

log = logging.getLogger(__name__)

LOADED: Final = metrics.gauge("sessions", "Versions loaded, kept ones included")
SWAPS: Final = metrics.counter("champion_swaps", "Changes of the champion that answers", ["model"])
REFUSED: Final = metrics.counter("versions_refused", "Loads that failed", ["model", "role"])
AGAIN_SECONDS: Final = 10.0
"""Time before an artifact that was refused is fetched again."""


class Champion(NamedTuple):
    """The version that answers, and its session."""

    manifest: Manifest
    session: Answers


class Live(NamedTuple):
    """What answers for a model; `problem` says why that is not the registry's champion."""

    champion: Champion | None = None
    shadows: tuple[Shadow, ...] = ()
    problem: str = ""


class Versions:
    """Champions and shadows of all models, and a bounded number of loaded sessions."""

    def __init__(self, bus: Bus, artifacts: Artifacts, keep: int) -> None:
        self._bus = bus
        self._artifacts = artifacts
        self._keep = keep
        self._live: dict[str, Live] = {}
        self._wanted: dict[str, Lineup] = {}
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._refused: dict[str, tuple[float, str]] = {}
        self._named: set[str] = set()
        self._unread = "the models' states are not read yet"
        self._wake = asyncio.Event()
        self._one = asyncio.Lock()

    async def of(self, model: str) -> Live:
        """What answers now; the first time a model is seen its state is read and loaded."""
        live = self._live.get(model)
        return live if live is not None else await self.refresh(model)

    async def heard(self, message: Any) -> None:
        """A control event said that something changed: look at that model soon."""
        self._named.add(model_of(message.subject))
        self._wake.set()

    def problem(self) -> str:
        """Why the service is not ready, or an empty text."""
        broken = (live.problem for live in self._live.values() if live.problem)
        return next(broken, self._unread)

    async def keep_current(self, every: float) -> None:
        """Look at the models that events named at once, and at all of them now and then."""
        while not self._bus.stopping.is_set():
            names, self._named = self._named, set()
            self._wake.clear()
            await self.refresh_all(names or None)
            await _first((self._wake, self._bus.stopping), every)

    async def refresh_all(self, names: set[str] | None = None) -> None:
        """Look at `names`, or at every model; one that cannot be read keeps what it has."""
        try:
            known = await self._bus.models.keys() if names is None else names
            for model in sorted(filter(MODEL_NAME.match, known)):
                await self.refresh(model)
        except Exception as error:  # the loop goes on whatever came: the next look may succeed
            self._unread = f"the models' states cannot be read: {error}"
            log.warning(self._unread, exc_info=not isinstance(error, Retry))
        else:
            self._unread = self._unread if names else ""

    async def refresh(self, model: str) -> Live:
        """Read the state of a model, load what is missing, and show it."""
        async with self._one:
            wanted = lineup((await self._bus.models.read(model)).value)
            before = self._live.get(model, Live())
            champion, problem = await self._champion(model, wanted.champion, before.champion)
            shadows = await self._shadows(model, wanted.shadows, before.shadows)
            self._wanted[model] = wanted
            self._show(model, before, Live(champion, shadows, problem))
            return self._live[model]

    def _show(self, model: str, before: Live, now: Live) -> None:
        self._live[model] = now
        for shadow in set(before.shadows) - set(now.shadows):
            shadow.close()
        old, new = (
            live.champion.manifest.version if live.champion else 0 for live in (before, now)
        )
        if old != new:
            SWAPS.labels(model).inc()
            log.info("%s: champion %d answers (before: %d)", model, new, old)
        if now.problem and now.problem != before.problem:
            log.error("%s", now.problem)
        self._trim()

    async def _champion(
        self, model: str, wanted: Manifest | None, present: Champion | None
    ) -> tuple[Champion | None, str]:
        if wanted is None:
            return None, ""
        try:
            return Champion(wanted, await self._load(wanted)), ""
        except Reject as error:
            REFUSED.labels(model, "champion").inc()
            goes_on = f"version {present.manifest.version}" if present else "none"
            what = f"{model}: champion {wanted.version} could not be loaded"
            return present, f"{what}, {goes_on} answers: {error}"

    async def _shadows(
        self, model: str, wanted: tuple[Manifest, ...], present: tuple[Shadow, ...]
    ) -> tuple[Shadow, ...]:
        have = {(s.manifest.version, s.manifest.model_sha256): s for s in present}
        shadows: list[Shadow] = []
        for manifest in wanted:
            try:
                session = await self._load(manifest)
            except Reject as error:
                REFUSED.labels(model, "shadow").inc()
                log.warning("%s: shadow %d does not answer: %s", model, manifest.version, error)
                continue
            same = have.get((manifest.version, manifest.model_sha256))
            shadows.append(same or Shadow(manifest, session))
        return tuple(shadows)

    async def _load(self, wanted: Manifest) -> Session:
        """The session of a version: the loaded one, or one made of verified bytes in a thread."""
        sha256, shape = wanted.model_sha256, (len(wanted.features), wanted.width)
        session = self._sessions.get(sha256)
        if session is None or (session.features, session.width) != shape:
            session = await self._make(sha256, *shape)
        self._sessions[sha256] = session
        self._sessions.move_to_end(sha256)
        return session

    async def _make(self, sha256: str, features: int, width: int) -> Session:
        now = asyncio.get_running_loop().time()
        until, why = self._refused.get(sha256, (0.0, ""))
        if now < until:
            raise Reject(why)
        try:
            data = await self._artifacts.get(sha256)
            session = await asyncio.to_thread(Session, data, features, width)
        except Reject as error:
            self._refused[sha256] = (now + AGAIN_SECONDS, str(error))
            raise
        self._refused.pop(sha256, None)
        return session

    def _trim(self) -> None:
        """Drop the sessions unused for longest; a request under way keeps its own to its end."""
        needed = {
            manifest.model_sha256
            for its in self._wanted.values()
            for manifest in (its.champion, *its.shadows)
            if manifest is not None
        }
        spare = [sha256 for sha256 in self._sessions if sha256 not in needed]
        for sha256 in spare[: max(0, len(self._sessions) - self._keep)]:
            del self._sessions[sha256]
        self._refused = {k: v for k, v in self._refused.items() if k in needed}
        LOADED.set(len(self._sessions))


async def _first(events: Iterable[asyncio.Event], seconds: float) -> None:
    """Wait until one of the events is set, `seconds` at most."""
    waiters = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for waiter in waiters:
        waiter.cancel()
