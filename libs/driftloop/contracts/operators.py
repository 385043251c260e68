"""What people do, as events: specs they register, and what they ask of the registry."""

from typing import ClassVar, Literal

from driftloop.contracts.event import Event

Asked = Literal[
    "retrain",
    "promote",
    "rollback",
    "challenge",
    "approve",
    "deny",
    "pause",
    "resume",
    "silence",
    "requeue",
]
"""What an operator can ask of the registry about a model that is registered.

`requeue` is only written down: who asked sends the rows of quarantine again.
"""


class SpecRegistered(Event, frozen=True, kw_only=True, tag="spec.registered"):
    """A spec was accepted; `text` is it as TOML, so that every revision can be read again."""

    kind: ClassVar[str] = "spec.registered"
    owner: ClassVar[str] = "registry"
    revision: int
    by: str
    reason: str = ""
    text: str = ""

    def key(self) -> str:
        """One a revision."""
        return str(self.revision)


class OperatorRequested(Event, frozen=True, kw_only=True, tag="operator.requested"):
    """A person asked for something. The registry writes down who and why.

    `detector` and `until` (seconds since 1970) are of `silence`: whose alarms (empty: all), and how
    long; 0 ends it.
    """

    kind: ClassVar[str] = "operator.requested"
    owner: ClassVar[str] = "registry"
    command: Asked
    version: int
    by: str
    reason: str
    request: str
    detector: str = ""
    until: float = 0.0

    def key(self) -> str:
        """One a request."""
        return self.request
