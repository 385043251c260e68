"""What the exit code of a command means, and which error ends in which code."""

from enum import IntEnum
from typing import Final

from driftloop.contracts.errors import DriftloopError, Reject, Retry


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    NO = 1
    USAGE = 2
    SILENT = 3
    INTERRUPTED = 130


MEANINGS: Final = {
    Exit.OK: "done; the answer is yes",
    Exit.NO: "the answer is no: not ready, refused, quarantined, or failed on the other side",
    Exit.USAGE: "wrong usage or bad input; the error names field, value and what is accepted",
    Exit.SILENT: "nothing answers: no NATS server there, or the service asked is not running",
    Exit.INTERRUPTED: "stopped by Ctrl-C",
}

EXPECTED: Final = (DriftloopError, OSError, TimeoutError, KeyboardInterrupt)
"""Errors a person can do something about; anything else is a bug and keeps its traceback."""


class Stop(DriftloopError):
    """Ends the command with a code; its text, if any, is what went wrong."""

    def __init__(self, code: Exit, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code


def code_of(error: BaseException) -> Exit:
    """The exit code an error ends in."""
    match error:
        case Stop():
            return error.code
        case Reject() | FileNotFoundError() | IsADirectoryError() | PermissionError():
            return Exit.USAGE
        case Retry() | ConnectionError() | TimeoutError():
            return Exit.SILENT
        case KeyboardInterrupt():
            return Exit.INTERRUPTED
        case _:
            return Exit.NO


def text_of(error: BaseException) -> str:
    """The error as a person reads it; empty where there is nothing to say."""
    if isinstance(error, KeyboardInterrupt):
        return ""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {(error.strerror or 'cannot be read').lower()}"
    return str(error) or ("" if isinstance(error, Stop) else type(error).__name__)
