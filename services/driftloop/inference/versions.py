"""The versions that answer now: read from the registry's state, loaded, and swapped in one step.

The state in KV is the truth. Events only say that it is time to look; so does the clock, since an
event may be lost.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from driftloop.artifacts.store import ArtifactMissing, Artifacts
from driftloop.bus.bus import Bus
from driftloop.contracts.errors import NotLoaded, Reject, Retry, UnknownModel
from driftloop.contracts.events import Manifest
from driftloop.contracts.names import MODEL_NAME
from driftloop.contracts.state import ModelState
from driftloop.contracts.subjects import model_of
from driftloop.inference.domain.lineup import Answers, Lineup, lineup
from driftloop.inference.session import Options
from driftloop.inference.session_cache import AGAIN_SECONDS, SessionCache
from driftloop.inference.settings import InferenceSettings
from driftloop.inference.shadow import COMMAND, REFUSED, Limits, Shadow
from driftloop.runtime import metrics

log = logging.getLogger(__name__)

SWAPS: Final = metrics.counter("champion_swaps", "Changes of the champion that answers", ["model"])
LOOK_SECONDS: Final = 1.0
"""A version nobody knows makes a state be read again, at most so often."""
LOADS: Final = 2
"""Versions loaded at once because a request asked for them."""
SHOWN: Final = 20


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
    """Champions and shadows of all models, and a bounded memory of loaded sessions.

    `changed` is a list of functions called with a model's name after anything about who answers
    its requests has changed.
    """

    def __init__(
        self,
        bus: Bus,
        artifacts: Artifacts,
        settings: InferenceSettings,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.changed: list[Callable[[str], None]] = []
        self._bus = bus
        options = Options(settings.threads, settings.provider)
        self._sessions = SessionCache(artifacts, settings.sessions_mb, options)
        self._limits = Limits(megabytes=settings.shadow_mb)
        self._command = command
        self._live: dict[str, Live] = {}
        self._wanted: dict[str, Lineup] = {}
        self._known: dict[str, dict[int, Manifest]] = {}
        self._looked: dict[str, float] = {}
        self._unloaded: set[str] = set()
        self._named: set[str] = set()
        self._unread = "the models' states are not read yet"
        self._wake = asyncio.Event()
        self._locks: dict[str, asyncio.Lock] = {}
        self._loads = asyncio.Semaphore(LOADS)

    def live(self, model: str) -> Live | None:
        """What answers now; None for a model that was not looked at yet."""
        return self._live.get(model)

    def names(self) -> list[str]:
        """The models that have versions, in order."""
        return sorted(model for model, known in self._known.items() if known)

    async def of(self, model: str) -> Live:
        """What answers now; the first time a model is seen its state is read and loaded."""
        live = self._live.get(model)
        return live if live is not None else await self.refresh(model)

    async def pinned(self, model: str, version: int) -> Champion:
        """One version of a model, whatever its stage, loaded if need be.

        Raises `UnknownModel` that names the versions there are, `NotLoaded` for an unloaded model,
        and `Retry` for a version whose artifact is refused.
        """
        manifest = await self._manifest(model, version)
        self.check_loaded(model)
        live = self._live[model].champion
        if live is not None and live.manifest == manifest:
            return live
        there = self.loaded(model, version)
        if there is not None:
            return there
        try:
            async with self._loads:
                session = await self._sessions.get(manifest)
        except ArtifactMissing as error:
            raise UnknownModel(f"version: {version} of {model} is not kept: {error}") from error
        except Reject as error:
            what = f"version: {version} of {model} could not be loaded"
            raise Retry(f"{what}: {error}", delay=AGAIN_SECONDS) from error
        self._trim()
        return Champion(manifest, session)

    def loaded(self, model: str, version: int) -> Champion | None:
        """What `pinned` would give, if it is there without waiting."""
        manifest = self._known.get(model, {}).get(version)
        if manifest is None or model in self._unloaded:
            return None
        session = self._sessions.have(manifest)
        return Champion(manifest, session) if session is not None else None

    def check_loaded(self, model: str) -> None:
        """Raise `NotLoaded` for a model that was unloaded."""
        if model in self._unloaded:
            raise NotLoaded(f"model: {model} is unloaded; it answers after a load", delay=5.0)

    async def load(self, model: str) -> Live:
        """Let requests for a model be answered again, by what the registry's state says now.

        Raises `UnknownModel`, and `Retry` if its champion cannot be loaded.
        """
        await self._bus.spec(model)
        live = await self.refresh(model)
        if live.problem:
            raise Retry(f"model: {live.problem}", delay=AGAIN_SECONDS)
        if model in self._unloaded:
            self._unloaded.discard(model)
            self._tell(model)
        return live

    async def unload(self, model: str) -> None:
        """Refuse requests for a model with `NotLoaded` until `load`, in this process only.

        The stream and the shadows go on: what is scored does not depend on who asks. So the
        champion stays in memory. Raises `UnknownModel`.
        """
        await self._bus.spec(model)
        await self.of(model)
        if model not in self._unloaded:
            self._unloaded.add(model)
            self._tell(model)

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

    async def close(self) -> None:
        """End the processes of all shadows, and wait until they are gone."""
        shadows = [shadow for live in self._live.values() for shadow in live.shadows]
        for shadow in shadows:
            shadow.close()
        await asyncio.gather(*(shadow.ended() for shadow in shadows))

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
        """Read the state of a model, load what is missing, and show it.

        A champion is shown as soon as it is ready: it does not wait for new shadows.
        """
        async with self._locks.setdefault(model, asyncio.Lock()):
            state: ModelState | None = (await self._bus.models.read(model)).value
            wanted = lineup(state)
            self._wanted[model] = wanted
            versions = state.versions if state is not None else {}
            self._known[model] = {n: version.manifest for n, version in versions.items()}
            before = self._live.get(model, Live())
            champion, problem = await self._champion(model, wanted.champion, before.champion)
            kept = tuple(s for s in before.shadows if s.manifest in wanted.shadows)
            self._show(model, Live(champion, kept, problem))
            shadows = await self._shadows(model, wanted.shadows, kept)
            self._show(model, Live(champion, shadows, problem))
            return self._live[model]

    def _show(self, model: str, now: Live) -> None:
        """Swap one reference; a session that is not shown ends with its last request."""
        before = self._live.get(model, Live())
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
        if now != before:
            self._tell(model)

    def _tell(self, model: str) -> None:
        for function in self.changed:
            try:
                function(model)
            except Exception:  # a bug of one listener must not stop swaps
                log.exception("%s: a listener failed after a change", model)

    async def _champion(
        self, model: str, wanted: Manifest | None, present: Champion | None
    ) -> tuple[Champion | None, str]:
        if wanted is None:
            return None, ""
        if present is not None and present.manifest == wanted:
            return present, ""
        try:
            return Champion(wanted, await self._sessions.get(wanted)), ""
        except Reject as error:
            REFUSED.labels(model, "champion").inc()
            goes_on = f"version {present.manifest.version}" if present else "none"
            what = f"{model}: champion {wanted.version} could not be loaded"
            return present, f"{what}, {goes_on} answers: {error}"

    async def _shadows(
        self, model: str, wanted: tuple[Manifest, ...], present: tuple[Shadow, ...]
    ) -> tuple[Shadow, ...]:
        have = {shadow.manifest.version: shadow for shadow in present}
        for manifest in wanted:
            if manifest.version in have:
                continue
            try:
                data = await self._sessions.data(manifest.model_sha256)
            except Reject as error:
                REFUSED.labels(model, "shadow").inc()
                log.warning("%s: shadow %d does not answer: %s", model, manifest.version, error)
            except Retry as error:  # those that are there go on; the next look tries again
                log.warning("%s: shadow %d is not read yet: %s", model, manifest.version, error)
            else:
                have[manifest.version] = Shadow(manifest, data, self._limits, self._command)
        return tuple(have[m.version] for m in wanted if m.version in have)

    async def _manifest(self, model: str, version: int) -> Manifest:
        """What the registry's state says of a version; it is read again for an unknown one."""
        now = asyncio.get_running_loop().time()
        known = self._known.get(model, {})
        if version not in known and now - self._looked.get(model, -LOOK_SECONDS) >= LOOK_SECONDS:
            await self._bus.spec(model)
            self._looked[model] = now
            await self.refresh(model)
            known = self._known[model]
        if version not in known:
            there = ", ".join(map(str, sorted(known)[-SHOWN:])) or "there is none yet"
            raise UnknownModel(f"version: {version} of {model} is not known; accepted: {there}")
        return known[version]

    def _trim(self) -> None:
        """Unload what is over the budget; a request under way keeps its own to its end."""
        wanted = [its.champion for its in self._wanted.values() if its.champion is not None]
        shown = [live.champion.manifest for live in self._live.values() if live.champion]
        self._sessions.trim({manifest.model_sha256 for manifest in (*wanted, *shown)})


async def _first(events: Iterable[asyncio.Event], seconds: float) -> None:
    """Wait until one of the events is set, `seconds` at most."""
    waiters = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for waiter in waiters:
        waiter.cancel()
