"""Control events about dead letters: what an operator did with one, for good."""

from typing import ClassVar

from driftloop.contracts.event import Event


class LetterEvent(Event, frozen=True, kw_only=True):
    """What became of the dead letter at sequence `letter` of DEAD.

    `service` is the consumer that could not use the message, `position` where the original lies.
    """

    owner: ClassVar[str] = "registry"
    letter: int
    service: str
    position: str
    by: str
    reason: str

    def key(self) -> str:
        """Each letter leaves once."""
        return str(self.letter)


class LetterReplayed(LetterEvent, frozen=True, kw_only=True, tag="letter.replayed"):
    """A dead letter was given back to who could not use it."""

    kind: ClassVar[str] = "letter.replayed"


class LetterDropped(LetterEvent, frozen=True, kw_only=True, tag="letter.dropped"):
    """A dead letter was given up: what was in it will not be worked on."""

    kind: ClassVar[str] = "letter.dropped"
