"""Secrets from a file or from the environment: never in a setting, a rule file or a log."""

import os
from pathlib import Path

from driftloop.contracts.errors import InvalidInput
from driftloop.runtime.settings import PREFIX


def secret(field: str, variable: str = "", file: str = "") -> str:
    """The secret in an environment variable or a file, without the line's end; empty if neither.

    `field` is what an error calls it. Raises `InvalidInput` if it is not there, or empty.
    """
    if variable:
        return _variable(field, variable)
    if not file:
        return ""
    try:
        found = Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InvalidInput(
            f"{field}_file: {file!r} cannot be read ({why}); accepted: a file with the secret"
        ) from error
    if not found:
        raise InvalidInput(f"{field}_file: {file!r} is empty; accepted: a file with the secret")
    return found


def _variable(field: str, variable: str) -> str:
    if variable.startswith(PREFIX):
        raise InvalidInput(
            f"{field}_env: {variable!r} begins like a setting of a service;"
            f" accepted: a name that does not begin with {PREFIX}"
        )
    found = os.environ.get(variable, "").strip()
    if not found:
        raise InvalidInput(
            f"{field}_env: {variable!r} is not in the environment, or is empty;"
            " accepted: the name of a variable that holds the secret"
        )
    return found
