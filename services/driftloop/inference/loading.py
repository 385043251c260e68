"""Loads what is to answer for a model: the champion's session, other versions, and shadows."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

from driftloop.artifacts.store import ArtifactMissing
from driftloop.contracts.errors import Reject, Retry, UnknownModel
from driftloop.contracts.events import Manifest
from driftloop.inference.domain.lineup import Answers
from driftloop.inference.session_cache import AGAIN_SECONDS, SessionCache
from driftloop.inference.shadow import REFUSED, Limits, Shadow

log = logging.getLogger(__name__)

LOADS: Final = 2
"""Versions loaded at once because a request asked for them."""


class Champion(NamedTuple):
    """The version that answers, and its session."""

    manifest: Manifest
    session: Answers


class Live(NamedTuple):
    """What answers for a model; `problem` says why that is not the registry's champion."""

    champion: Champion | None = None
    shadows: tuple[Shadow, ...] = ()
    problem: str = ""


class Loader:
    """Makes champions and shadows of manifests, with the sessions of a cache."""

    def __init__(self, sessions: SessionCache, limits: Limits, command: Sequence[str]) -> None:
        self._sessions = sessions
        self._limits = limits
        self._command = command
        self._loads = asyncio.Semaphore(LOADS)

    async def champion(
        self, model: str, wanted: Manifest | None, present: Champion | None
    ) -> tuple[Champion | None, str]:
        """Who is to answer; if that cannot be loaded, who answers at `present`, and why."""
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

    async def other(self, manifest: Manifest) -> Champion:
        """A version somebody asked for by its number.

        Raises `UnknownModel` if its artifact is not kept, and `Retry` if it is refused.
        """
        what = f"version: {manifest.version} of {manifest.model}"
        try:
            async with self._loads:
                return Champion(manifest, await self._sessions.get(manifest))
        except ArtifactMissing as error:
            raise UnknownModel(f"{what} is not kept: {error}") from error
        except Reject as error:
            raise Retry(f"{what} could not be loaded: {error}", delay=AGAIN_SECONDS) from error

    async def shadows(
        self, model: str, wanted: tuple[Manifest, ...], present: tuple[Shadow, ...]
    ) -> tuple[Shadow, ...]:
        """The shadows that can be had, those at `present` as they are."""
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
