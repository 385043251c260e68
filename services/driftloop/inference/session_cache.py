"""The loaded sessions, by digest, within a budget of memory: what was not used for longest goes."""

import asyncio
import logging
import time
from collections.abc import Callable, Container
from typing import Final

from driftloop.artifacts.store import Artifacts
from driftloop.contracts.errors import Reject
from driftloop.contracts.events import Manifest
from driftloop.inference.session import Options, Session
from driftloop.runtime import metrics

log = logging.getLogger(__name__)

LOADED: Final = metrics.gauge("sessions", "Versions loaded in this process, kept ones included")
BYTES: Final = metrics.gauge("session_bytes", "Their memory, estimated from the sizes of the files")
EVICTED: Final = metrics.counter("sessions_evicted", "Versions unloaded to keep to the budget")
AGAIN_SECONDS: Final = 10.0
"""Time before an artifact that was refused is fetched again."""
SOON_SECONDS: Final = 10.0
"""What was used so shortly before it is unloaded will be wanted again: the budget is too small."""
TELL_SECONDS: Final = 60.0


class SessionCache:
    """Sessions made of verified bytes, in threads, and one load at a time of each artifact."""

    def __init__(self, artifacts: Artifacts, megabytes: int, options: Options) -> None:
        self._artifacts = artifacts
        self._budget = megabytes << 20
        self._options = options
        self._sessions: dict[str, Session] = {}
        self._size = 0
        self._told = -TELL_SECONDS
        self._loading: dict[tuple[str, int, int], asyncio.Task[Session]] = {}
        self._refused: dict[str, tuple[float, Reject]] = {}

    def have(self, wanted: Manifest) -> Session | None:
        """The session of a version if it is loaded; it counts as used now."""
        session = self._sessions.get(wanted.model_sha256)
        if session is None or (session.features, session.width) != _shape(wanted):
            return None
        session.used = time.monotonic()
        return session

    def room(self) -> bool:
        """Whether more may be loaded without unloading anything."""
        return self._size < self._budget

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

    def keep(self, sha256: str, session: object) -> None:
        """Count a session that answers, should it have been unloaded just before it was shown."""
        if sha256 not in self._sessions and isinstance(session, Session):
            self._sessions[sha256] = session
            self._size += session.size

    def trim(self, answering: Callable[[], tuple[Container[str], Container[str]]]) -> set[str]:
        """Unload down to the budget; the digests that went.

        `answering` gives the digests of champions, before which others go, and of those that have
        to stay. What was not used for longest goes first, what was used last never.
        """
        gone: set[str] = set()
        if self._size > self._budget:
            champions, needed = answering()
            order = sorted(self._sessions, key=lambda sha256: self._sessions[sha256].used)[:-1]
            for sha256 in sorted(order, key=lambda sha256: sha256 in champions):
                if self._size <= self._budget:
                    break
                if sha256 not in needed:
                    self._unload(sha256)
                    gone.add(sha256)
        now = asyncio.get_running_loop().time()
        self._refused = {k: (end, why) for k, (end, why) in self._refused.items() if now < end}
        LOADED.set(len(self._sessions))
        BYTES.set(self._size)
        return gone

    def _unload(self, sha256: str) -> None:
        session = self._sessions.pop(sha256)
        self._size -= session.size
        EVICTED.inc()
        now = time.monotonic()
        if now - session.used < SOON_SECONDS and now - self._told >= TELL_SECONDS:
            self._told = now
            log.warning(
                "sessions_mb: %d MB are too few for the versions in use: one is unloaded that was "
                "used %.1f s ago, and is loaded anew for its next rows",
                self._budget >> 20,
                now - session.used,
            )

    async def _load(self, sha256: str, features: int, width: int) -> Session:
        data = await self.data(sha256)
        try:
            session = await asyncio.to_thread(Session, data, features, width, self._options)
        except Reject as error:
            self._refuse(sha256, error)
            raise
        replaced = self._sessions.get(sha256)  # the same bytes under another shape
        self._size += session.size - (replaced.size if replaced is not None else 0)
        self._sessions[sha256] = session
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
