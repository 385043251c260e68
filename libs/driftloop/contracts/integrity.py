"""Control events about what was refused for want of a proof, and what a second person approved."""

from typing import ClassVar, Literal

from driftloop.contracts.event import Event, RunEvent

Refused = Literal["candidate", "promotion", "chain"]
ServedRole = Literal["champion", "shadow", "version"]


class IntegrityRefused(Event, frozen=True, kw_only=True, tag="integrity.refused"):
    """Something that says it is ours has no valid proof, and was ignored.

    `claimed` is who it said it was from, `sha256` what it is about: a digest, or empty.
    """

    kind: ClassVar[str] = "integrity.refused"
    owner: ClassVar[str] = "registry"
    what: Refused
    version: int
    reason: str
    claimed: str = ""
    sha256: str = ""

    def key(self) -> str:
        """One a thing that was refused."""
        return f"{self.what}:{self.version}:{self.sha256[:16]}"


class ModelRefused(Event, frozen=True, kw_only=True, tag="model.refused"):
    """A version was not loaded, in a role, and why; what answered before goes on."""

    kind: ClassVar[str] = "model.refused"
    owner: ClassVar[str] = "inference"
    version: int
    role: ServedRole
    reason: str
    sha256: str
    """The first digits of the digest of role and reason: it makes the id."""

    def key(self) -> str:
        """One a version and reason."""
        return f"{self.version}:{self.sha256}"


class ApprovalRequested(RunEvent, frozen=True, kw_only=True, tag="approval.requested"):
    """A version won and waits for a second person. `asked_by` is who may not be that person."""

    kind: ClassVar[str] = "approval.requested"
    owner: ClassVar[str] = "registry"
    version: int
    reason: str
    asked_by: str = ""


class ApprovalGiven(RunEvent, frozen=True, kw_only=True, tag="approval.given"):
    """A second person approved of a version; it is promoted."""

    kind: ClassVar[str] = "approval.given"
    owner: ClassVar[str] = "registry"
    version: int
    by: str
    reason: str
