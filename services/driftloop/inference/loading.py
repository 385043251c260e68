"""Loads what is to answer for a model: the champion's session, other versions, and shadows."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from driftloop.artifacts.store import ArtifactMissing
from driftloop.contracts.errors import Reject, Retry, UnknownModel
from driftloop.contracts.events import Manifest
from driftloop.contracts.state import Version
from driftloop.inference.domain.lineup import Answers
from driftloop.inference.proving import Proofs
from driftloop.inference.session_cache import AGAIN_SECONDS, SessionCache
from driftloop.inference.shadow import REFUSED, Limits, Shadow
from driftloop.inference.shadowing.turns import Turns

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


def answering(lives: Iterable[Live]) -> tuple[set[str], set[str]]:
    """Digests of the champions, and of those that stay: beside a shadow, or a broken next."""
    shown = [(live.champion, live) for live in lives if live.champion]
    stay = [champion for champion, live in shown if live.shadows or live.problem]
    return (
        {champion.manifest.model_sha256 for champion, _ in shown},
        {champion.manifest.model_sha256 for champion in stay},
    )


class Loader:
    """Makes champions and shadows of manifests, with the sessions of a cache."""

    def __init__(
        self, sessions: SessionCache, proofs: Proofs, limits: Limits, command: Sequence[str]
    ) -> None:
        self._sessions = sessions
        self._proofs = proofs
        self._limits = limits
        self._command = command
        self._turns = Turns()
        self._loads = asyncio.Semaphore(LOADS)

    async def champion(
        self,
        model: str,
        number: int,
        wanted: Manifest | None,
        present: Champion | None,
        unproved: str = "",
    ) -> tuple[Champion | None, str]:
        """Who is to answer; if that cannot be loaded, who answers at `present`, and why.

        It is version `number`; `unproved` says why it may not be loaded, whatever its bytes.
        """
        if wanted is None and not unproved:
            return None, ""
        try:
            if unproved:
                raise Reject(unproved)
            assert wanted is not None
            if present is not None and present.manifest == wanted:
                return present, ""
            return Champion(wanted, await self._sessions.get(wanted)), ""
        except Reject as error:
            REFUSED.labels(model, "champion").inc()
            self._proofs.refused(model, number, "champion", f"{error}")
            goes_on = f"version {present.manifest.version}" if present else "none"
            what = f"{model}: champion {number} could not be loaded"
            return present, f"{what}, {goes_on} answers: {error}"

    async def other(self, model: str, number: int, version: Version) -> Champion:
        """A version somebody asked for by its number.

        Raises `UnknownModel` if its artifact is not kept, and `Retry` if it is refused.
        """
        what, manifest = f"version: {number} of {model}", version.manifest
        try:
            async with self._loads:
                if unproved := self._proofs.version(model, number, version):
                    raise Reject(unproved)
                return Champion(manifest, await self._sessions.get(manifest))
        except ArtifactMissing as error:
            raise UnknownModel(f"{what} is not kept: {error}") from error
        except Reject as error:
            self._proofs.refused(model, number, "version", f"{error}")
            raise Retry(f"{what} could not be loaded: {error}", delay=AGAIN_SECONDS) from error

    async def shadows(
        self,
        model: str,
        wanted: tuple[Manifest, ...],
        present: tuple[Shadow, ...],
        unproved: Mapping[int, str],
    ) -> tuple[Shadow, ...]:
        """The shadows that can be had, those at `present` as they are.

        `unproved` says of versions why they may not be loaded, whatever their bytes.
        """
        have = {shadow.manifest.version: shadow for shadow in present}
        for manifest in wanted:
            if manifest.version in have:
                continue
            refused = partial(self._proofs.refused, model, manifest.version, "shadow")
            try:
                if manifest.version in unproved:
                    raise Reject(unproved[manifest.version])
                data = await self._sessions.data(manifest.model_sha256)
            except Reject as error:
                REFUSED.labels(model, "shadow").inc()
                refused(f"{error}")
                log.warning("%s: shadow %d does not answer: %s", model, manifest.version, error)
            except Retry as error:  # those that are there go on; the next look tries again
                log.warning("%s: shadow %d is not read yet: %s", model, manifest.version, error)
            else:
                have[manifest.version] = Shadow(
                    manifest, data, self._limits, self._command, refused, self._turns
                )
        return tuple(have[m.version] for m in wanted if m.version in have)
