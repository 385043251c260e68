"""Which of the user's variables go on to the services that `up` and `demo` start."""

import importlib
from collections.abc import Mapping
from typing import Final

from driftloop.contracts.errors import InvalidInput
from driftloop.runtime.settings import PREFIX, SERVICES, Shared, given, load

DECIDED: Final = frozenset(
    {"nats_url", "nats_replicas", "nats_ca", "keys", "clickhouse_url", "host", "port"}
)
"""Settings that whoever starts the services decides, for all of them and for one alone."""
DECIDED_ALONE: Final = frozenset({f"{PREFIX}TELEMETRY_PATH"})
FOR_COMMANDS: Final = frozenset({f"{PREFIX}NATS_URL", f"{PREFIX}KEYS"})
"""Read by the commands, so that they may well be set."""


def settings_of(service: str) -> type[Shared]:
    """The settings of a service; its module is imported."""
    module = importlib.import_module(f"driftloop.{service}.settings")
    kinds = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Shared) and kind is not Shared
    ]
    return kinds[0]


def passed_on(environment: Mapping[str, str] | None = None) -> tuple[dict[str, str], list[str]]:
    """The variables for the services, and the names of those left out: what they say is decided.

    Raises `InvalidInput` that names each misspelt variable, its value and what is accepted, or a
    value that its service would refuse.
    """
    kinds = {service: settings_of(service) for service in SERVICES}
    found: dict[str, str] = {}
    left_out: list[str] = []
    problems: list[str] = []
    for variable, value in sorted(given(environment).items()):
        service, field = _parted(variable)
        fields = (kinds[service] if service else Shared).__struct_fields__
        if field not in fields:
            problems.append(_unknown(variable, value, service, fields))
        elif field in DECIDED or variable in DECIDED_ALONE:
            left_out += [variable] if variable not in FOR_COMMANDS else []
        else:
            found[variable] = value
    if problems:
        raise InvalidInput("\n".join(problems))
    for service, kind in kinds.items():
        load(kind, service, found)
    return found, left_out


def _parted(variable: str) -> tuple[str, str]:
    """Service and field of a variable; a shared one has no service."""
    name = variable.removeprefix(PREFIX).lower()
    for service in SERVICES:
        if name.startswith(f"{service}_"):
            return service, name.removeprefix(f"{service}_")
    return "", name


def _unknown(variable: str, value: str, service: str, fields: tuple[str, ...]) -> str:
    own = f"{PREFIX}{service.upper()}_" if service else PREFIX
    accepted = ", ".join(own + field.upper() for field in fields if field not in DECIDED)
    if not service:
        accepted += f", and {PREFIX}<SERVICE>_<NAME> for one of {', '.join(SERVICES)}"
    return f"{variable}: {value!r} is not a setting; accepted: {accepted}"
