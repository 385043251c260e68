"""What every control event is: a fact about one model, and one about a run of its loop."""

from typing import ClassVar

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """A fact about one model."""

    kind: ClassVar[str]
    owner: ClassVar[str]
    """The one service that may say it; the broker holds the others to it (see `bus.rights`)."""
    model: str
    data_time: int = 0

    def key(self) -> str:
        """The business key: the same fact has the same key, however often it is said."""
        raise NotImplementedError

    def event_id(self) -> str:
        """CloudEvents id and de-duplication id."""
        return f"{self.kind}:{self.model}:{self.key()}"


class RunEvent(Event, frozen=True, kw_only=True):
    """A fact about one run of the loop."""

    run: str

    def key(self) -> str:
        """Each of these happens at most once a run."""
        return self.run
