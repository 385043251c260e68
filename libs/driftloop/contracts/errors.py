"""Errors that mean the same in every service: whose fault, and what to do with the message."""


class DriftloopError(Exception):
    """Base of the errors that carry a message for a person."""


class Reject(DriftloopError):
    """Poison: trying again cannot help; the message goes to the dead letters with this reason."""


class Retry(DriftloopError):
    """Transient: the message is tried again after `delay` seconds."""

    def __init__(self, reason: str, delay: float = 1.0) -> None:
        super().__init__(reason)
        self.delay = delay


class InvalidName(Reject):
    """A name from outside that may not stand in a subject."""


class UnknownModel(Reject):
    """No spec is registered under this name."""


class InvalidInput(Reject):
    """Input that breaks the contract; the text names the field, the value and what is accepted."""


class Outdated(Reject):
    """Another change came first: the caller is to look at it before asking again."""


class Overloaded(Retry):
    """A bound is reached: the caller is to slow down and try again."""


class NotLoaded(Retry):
    """A model that was unloaded on purpose; it answers again after it is loaded."""


class DeadlineExceeded(DriftloopError):
    """The caller's deadline passed before its turn came."""
