"""The loaded sessions, by digest, within a budget of memory: what was not used for longest goes."""

import asyncio
from collections import OrderedDict
from collections.abc import Container
from typing import Final

from driftloop.artifacts.store import Artifacts
from driftloop.contracts.errors import Reject
from driftloop.contracts.events import Manifest
from driftloop.inference.session import Options, Session
from driftloop.runtime import metrics

LOADED: Final = metrics.gauge("sessions", "Versions loaded in this process, kept ones included")
BYTES: Final = metrics.gauge("session_bytes", "Their memory, estimated from the sizes of the files")
EVICTED: Final = metrics.counter("sessions_evicted", "Versions unloaded to keep to the budget")
AGAIN_SECONDS: Final = 10.0
"""Time before an artifact that was refused is fetched again."""


class SessionCache:
    """Sessions made of verified bytes, in threads, and one load at a time of each artifact."""

    def __init__(self, artifacts: Artifacts, megabytes: int, options: Options) -> None:
        self._artifacts = artifacts
        self._budget = megabytes << 20
        self._options = options
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._loading: dict[tuple[str, int, int], asyncio.Task[Session]] = {}
        self._refused: dict[str, tuple[float, Reject]] = {}

    def have(self, wanted: Manifest) -> Session | None:
        """The session of a version if it is loaded; it counts as used now."""
        session = self._sessions.get(wanted.model_sha256)
        if session is None or (session.features, session.width) != _shape(wanted):
            return None
        self._sessions.move_to_end(wanted.model_sha256)
        return session

    async def get(self, wanted: Manifest) -> Session:
        """The session of a version: the loaded one, or one that is loaded now.

        Raises `Reject` for an artifact that is missing, damaged or refused, and again for some
        seconds without another try; `Retry` if the store does not answer.
        """
        session = self.have(wanted)
        if session is not None:
            return session
        key = (wanted.model_sha256, *_shape(wanted))
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(self._load(*key))
            task.add_done_callback(lambda done: self._loaded(key, done))
        return await asyncio.shield(task)  # who gives up does not take it from the others

    async def data(self, sha256: str) -> bytes:
        """The verified bytes of an artifact; raises as `get` does."""
        self._check_refused(sha256)
        try:
            return await self._artifacts.get(sha256)
        except Reject as error:
            self._refuse(sha256, error)
            raise

    def trim(self, needed: Container[str]) -> None:
        """Unload down to the budget: never the digests in `needed`, nor what was used last."""
        size = sum(session.size for session in self._sessions.values())
        for sha256 in list(self._sessions)[:-1]:
            if size <= self._budget:
                break
            if sha256 not in needed:
                size -= self._sessions.pop(sha256).size
                EVICTED.inc()
        now = asyncio.get_running_loop().time()
        self._refused = {k: (end, why) for k, (end, why) in self._refused.items() if now < end}
        LOADED.set(len(self._sessions))
        BYTES.set(size)

    async def _load(self, sha256: str, features: int, width: int) -> Session:
        data = await self.data(sha256)
        try:
            session = await asyncio.to_thread(Session, data, features, width, self._options)
        except Reject as error:
            self._refuse(sha256, error)
            raise
        self._sessions[sha256] = session
        self._sessions.move_to_end(sha256)
        return session

    def _loaded(self, key: tuple[str, int, int], done: "asyncio.Task[Session]") -> None:
        del self._loading[key]
        if not done.cancelled():
            done.exception()  # told to whoever waited; they may all have gone

    def _check_refused(self, sha256: str) -> None:
        until, error = self._refused.get(sha256, (0.0, None))
        if error is not None and asyncio.get_running_loop().time() < until:
            raise type(error)(str(error))

    def _refuse(self, sha256: str, error: Reject) -> None:
        self._refused[sha256] = (asyncio.get_running_loop().time() + AGAIN_SECONDS, error)


def _shape(manifest: Manifest) -> tuple[int, int]:
    return len(manifest.features), manifest.width
