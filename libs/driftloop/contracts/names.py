"""Names that may become part of a subject, and ids minted for events and runs."""

import hashlib
import re
import uuid
from typing import Final

from driftloop.contracts.errors import InvalidName

MODEL_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
MODEL_NAME_ACCEPTED: Final = (
    "1 to 63 characters out of a-z, 0-9, '-' and '_', the first a letter or a digit"
)


def check_model_name(name: str) -> str:
    """Return `name` if it may stand in a subject, else raise `InvalidName`."""
    if not MODEL_NAME.match(name):
        raise InvalidName(
            f"model: {name[:80]!r} is not a model name; accepted: {MODEL_NAME_ACCEPTED}"
        )
    return name


def new_id() -> str:
    """Mint a random id: 32 hexadecimal characters."""
    return uuid.uuid4().hex


def digest(data: bytes) -> str:
    """SHA-256 of `data` as 64 hexadecimal characters."""
    return hashlib.sha256(data).hexdigest()


def run_id(trigger_id: str) -> str:
    """The id of the run a trigger starts: the same trigger always names the same run."""
    return f"run-{digest(trigger_id.encode())[:12]}"
