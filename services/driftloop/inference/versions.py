"""The versions that answer now: read from the registry's state, loaded, and swapped in one step.

The state in KV is the truth. Events only say that it is time to look; so does the clock, since an
event may be lost: then the states that changed are looked at, however many there are.

Sessions have a budget: a model whose session was let go is loaded again for whoever asks next.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from driftloop.artifacts.onnx_file import limits_of
from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.contracts.errors import NotLoaded, Retry, UnknownModel
from driftloop.contracts.names import MODEL_NAME
from driftloop.contracts.state import ModelState, Version
from driftloop.contracts.subjects import model_of
from driftloop.inference.core.first import first
from driftloop.inference.domain.lineup import lineup
from driftloop.inference.loading import Champion as Champion
from driftloop.inference.loading import Live as Live
from driftloop.inference.loading import Loader, answering
from driftloop.inference.proving import Proofs
from driftloop.inference.session import Options
from driftloop.inference.session_cache import AGAIN_SECONDS, SessionCache
from driftloop.inference.settings import InferenceSettings
from driftloop.inference.shadow import COMMAND, Limits
from driftloop.runtime import metrics

log = logging.getLogger(__name__)

SWAPS: Final = metrics.counter("champion_swaps", "Changes of the champion that answers", ["model"])
LOOK_SECONDS: Final = 1.0
"""A version nobody knows makes a state be read again, at most so often."""
SHOWN: Final = 20
START_SECONDS: Final = 2.0
"""How long a start waits for versions to be loaded; those left are loaded when asked for."""
START_LOADS: Final = 4


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
        accepted = limits_of(settings.model_mb, settings.model_tensor_mb, settings.model_operators)
        options = Options(settings.threads, settings.provider, accepted)
        self._sessions = SessionCache(artifacts, settings.sessions_mb, options)
        self._proofs = Proofs(bus)
        limits = Limits(megabytes=settings.shadow_mb, accepted=accepted)
        self._loader = Loader(self._sessions, self._proofs, limits, command)
        self._live: dict[str, Live] = {}
        self._names: set[str] = set()
        self._known: dict[str, dict[int, Version]] = {}
        self._looked: dict[str, float] = {}
        self._unloaded: set[str] = set()
        self._named: set[str] = set()
        self._again: set[str] = set()
        self._changes = bus.models.changes()
        self._unread = "the models' states are not read yet"
        self._wake = asyncio.Event()
        self._locks: dict[str, asyncio.Lock] = {}

    def live(self, model: str) -> Live | None:
        """What answers now; None for a model that was not looked at, or was let go."""
        return self._live.get(model)

    def names(self) -> list[str]:
        """The models that have versions, in order."""
        return sorted(self._names)

    async def of(self, model: str) -> Live:
        """What answers now; what is not there is read and loaded."""
        live = self._live.get(model)
        return live if live is not None else await self.refresh(model)

    async def pinned(self, model: str, version: int) -> Champion:
        """One version of a model, whatever its stage, loaded if need be.

        Raises `UnknownModel` that names the versions there are, `NotLoaded` for an unloaded model,
        and `Retry` for a version whose artifact is refused.
        """
        known = await self._version(model, version)
        self.check_loaded(model)
        shown = self._live.get(model, Live()).champion
        if shown is not None and shown.manifest == known.manifest:
            return shown
        there = self.loaded(model, version)
        if there is not None:
            return there
        made = await self._loader.other(model, version, known)
        self._trim()
        return made

    def loaded(self, model: str, version: int) -> Champion | None:
        """What `pinned` would give, if it is there without waiting."""
        known = self._known.get(model, {}).get(version)
        if known is None or model in self._unloaded:
            return None
        session = self._sessions.have(known.manifest)
        return Champion(known.manifest, session) if session is not None else None

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
        """Why the service is not ready, or an empty text.

        A model whose champion was refused does not keep the others from being answered.
        """
        broken = self.note()
        answered = any(live.champion is not None for live in self._live.values())
        return self._unread or ("" if answered else broken)

    def note(self) -> str:
        """What is wrong with one of the models, ready or not; empty if nothing is."""
        return next((live.problem for live in self._live.values() if live.problem), "")

    async def keep_current(self, every: float) -> None:
        """Look at the models that events named at once, and at what changed now and then."""
        while not self._bus.stopping.is_set():
            names, self._named = self._named, set()
            self._wake.clear()
            await self.refresh_all(names)
            await first((self._wake, self._bus.stopping), every)

    async def close(self) -> None:
        """End the processes of all shadows, and wait until they are gone."""
        shadows = [shadow for live in self._live.values() for shadow in live.shadows]
        for shadow in shadows:
            shadow.close()
        await asyncio.gather(*(shadow.ended() for shadow in shadows), self._proofs.close())

    async def refresh_all(self, names: Iterable[str] = ()) -> None:
        """Look at `names` and what changed; a model that cannot be read keeps what it has.

        The first time all models are looked at, and as many loaded as the budget and
        `START_SECONDS` allow.
        """
        self._again.update(filter(MODEL_NAME.match, names))
        try:
            for model, state in (await self._changes.next()).items():
                self._name(model, state)
                self._again.add(model)
            if self._unread:
                await self._begin(sorted(self._again))
            else:
                for model in sorted(self._again):
                    await self._look(model)
        except Exception as error:  # the loop goes on whatever came: the next look may succeed
            self._unread = f"the models' states cannot be read: {error}"
            log.warning(self._unread, exc_info=not isinstance(error, Retry))
        else:
            self._unread = ""

    async def _begin(self, models: Sequence[str]) -> None:
        """Look at many models at once; after some seconds only at those that answer already."""
        left, end = iter(models), asyncio.get_running_loop().time() + START_SECONDS

        async def some() -> None:
            for model in left:
                await self._look(model, load=asyncio.get_running_loop().time() < end)

        await asyncio.gather(*(some() for _ in range(START_LOADS)))

    async def _look(self, model: str, *, load: bool = True) -> None:
        """Refresh a model that answers, or for which there is room; leave the others be."""
        if model in self._live or (load and self._sessions.room()):
            await self.refresh(model)
        else:
            self._again.discard(model)

    async def refresh(self, model: str) -> Live:
        """Read the state of a model, load what is missing, and show it.

        A champion is shown as soon as it is ready: it does not wait for new shadows.
        """
        async with self._locks.setdefault(model, asyncio.Lock()):
            state, unproved = await self._proofs.state(model)
            self._name(model, state)
            wanted = lineup(state)
            before = self._live.get(model, Live())
            number = state.champion if state is not None else 0
            champion, problem = await self._loader.champion(
                model, number, wanted.champion, before.champion, unproved
            )
            kept = tuple(s for s in before.shadows if s.manifest in wanted.shadows)
            self._known[model] = state.versions if state is not None else {}
            self._show(model, Live(champion, kept, problem))
            shadows = await self._loader.shadows(
                model, wanted.shadows, kept, self._proofs.shadows(state)
            )
            live = Live(champion, shadows, problem)
            self._show(model, live)
            done = not problem and len(shadows) == len(wanted.shadows)
            (self._again.discard if done else self._again.add)(model)
            return live

    def _name(self, model: str, state: ModelState | None) -> None:
        there = state is not None and state.versions
        (self._names.add if there else self._names.discard)(model)

    def _show(self, model: str, now: Live) -> None:
        """Swap one reference; a session that is not shown ends with its last request."""
        before = self._live.get(model, Live())
        self._live[model] = now
        if now.champion is not None:
            self._sessions.keep(now.champion.manifest.model_sha256, now.champion.session)
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

    async def _version(self, model: str, version: int) -> Version:
        """What the registry's state says of a version; it is read again for an unknown one."""
        now = asyncio.get_running_loop().time()
        if model not in self._live:
            await self._bus.spec(model)
            await self.of(model)
        known = self._known.get(model, {})
        if version not in known and now - self._looked.get(model, -LOOK_SECONDS) >= LOOK_SECONDS:
            await self._bus.spec(model)
            self._looked[model] = now
            await self.refresh(model)
            known = self._known.get(model, {})
        if version not in known:
            there = ", ".join(map(str, sorted(known)[-SHOWN:])) or "there is none yet"
            raise UnknownModel(f"version: {version} of {model} is not known; accepted: {there}")
        return known[version]

    def _trim(self) -> None:
        """Let go what is over the budget; a run under way keeps its own to its end."""
        gone = self._sessions.trim(lambda: answering(self._live.values()))
        for model, live in list(self._live.items()) if gone else ():
            if live.champion and live.champion.manifest.model_sha256 in gone:
                del self._live[model], self._known[model]
                self._tell(model)
