"""What the registry proves and has proved: candidates by the trainer, promotions by itself."""

from typing import Final

import msgspec

from driftloop.artifacts import signing
from driftloop.artifacts.promotions import newest_number
from driftloop.bus.bus import Bus
from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.events import (
    AnyEvent,
    CandidateTrained,
    IntegrityRefused,
    ModelPromoted,
    ModelRolledBack,
)
from driftloop.contracts.integrity import Refused
from driftloop.contracts.names import digest
from driftloop.contracts.state import ModelState, Pending, Promotion
from driftloop.runtime import metrics

REFUSED: Final = metrics.counter(
    "integrity_refused", "What came without a valid proof and was ignored", ["model", "what"]
)


class Unproved(InvalidInput):
    """A version may not be promoted: its manifest is not the trainer's. Has the audit event."""

    def __init__(self, event: IntegrityRefused) -> None:
        super().__init__(f"version: {event.reason}")
        self.event = event


class Proofs:
    """Checks and makes signatures; without keys on the bus nothing is checked, and none made."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def candidate(self, event: CandidateTrained) -> IntegrityRefused | None:
        """What to say of a candidate that the trainer did not sign; None for one that it did."""
        its = event.manifest
        problem = signing.manifest_problem(
            self._bus.trust, its, event.manifest_sha256, event.signature
        )
        if self._bus.trust is not None and (its.model, its.version) != (event.model, event.version):
            problem = f"the manifest is of version {its.version} of {its.model}"
        if not problem:
            return None
        return _refused(event.model, event.version, "candidate", problem, event.manifest_sha256)

    async def countersigned(self, before: ModelState, after: ModelState) -> ModelState:
        """The state to be written: a promotion in it is numbered past all others, and signed.

        Raises `Unproved` for one of a version that the trainer did not sign.
        """
        promotion, identity = after.promotion, self._bus.identity
        if promotion is None or promotion == before.promotion or identity is None:
            return after
        number, version = promotion.version, after.versions[promotion.version]
        problem = signing.version_problem(self._bus.trust, after.model, number, version)
        if problem:
            raise Unproved(
                _refused(after.model, number, "promotion", problem, version.manifest_sha256)
            )
        newest = max(promotion.number, 1 + await newest_number(self._bus, after.model))
        promotion = msgspec.structs.replace(promotion, number=newest)
        promotion = signing.countersigned(identity, promotion)
        outbox = tuple(_with(pending, promotion) for pending in after.outbox)
        return msgspec.structs.replace(after, promotion=promotion, outbox=outbox)


def _with(pending: Pending, promotion: Promotion) -> Pending:
    """What is to be said, with the number and the signature if it is of this promotion."""
    event: AnyEvent = pending.event
    if not isinstance(event, ModelPromoted | ModelRolledBack):
        return pending
    its = {"number": promotion.number, "signature": promotion.signature}
    return msgspec.structs.replace(pending, event=msgspec.structs.replace(event, **its))


def _refused(
    model: str, version: int, what: Refused, reason: str, manifest_sha256: str
) -> IntegrityRefused:
    about = digest(f"{reason} {manifest_sha256}".encode())
    return IntegrityRefused(
        model=model,
        version=version,
        what=what,
        reason=reason,
        claimed=signing.TRAINER,
        sha256=about,
    )
