"""Who may log in to a NATS server: keys in a folder, and the server's configuration made of them.

`clients.json` names the callers that have a key of their own, and the models of each.
https://docs.nats.io/running-a-nats-service/configuration/securing_nats/authorization
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from driftloop.bus import identity
from driftloop.bus.rights import ANSWER_SECONDS, USERS, Rights, client_rights, rights
from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.names import check_model_name

CLIENTS: Final = "clients.json"
FILE: Final = "authorization.conf"
ALL: Final = "*"
SERVER: Final = "nats"
"""The folder with what the server itself reads."""


def prepare(folder: Path) -> str:
    """Make the keys that are missing, and the `authorization` part of a server's configuration.

    It is written to `authorization.conf` too, for servers that include it.
    """
    known = clients(folder)
    public = identity.make(folder, [*USERS, *known])
    its = {user: rights(user) for user in USERS}
    its |= {name: client_rights(name, models) for name, models in known.items()}
    # NATS reads JSON as its own language.
    users = [{"nkey": key, "permissions": _permissions(its[user])} for user, key in public.items()]
    made = msgspec.json.format(msgspec.json.encode({"users": users})).decode()
    text = f"authorization: {made}\n"
    identity.write(folder / FILE, text.encode())
    if (folder / SERVER).exists():
        apart(folder)
    return text


def apart(folder: Path) -> None:
    """Give each its own folder: who holds one has the key of one part, and not of the others.

    `nats` is the server's, with `authorization.conf`; the other folders bear a user's name and hold
    its key and the public keys of all. Copies follow when keys are made, added or removed.
    """
    users = [*USERS, *clients(folder)]
    wanted = {SERVER: [FILE]} | {user: [f"{user}.nk", identity.PUBLIC] for user in users}
    for name, files in wanted.items():
        own = folder / name
        own.mkdir(mode=0o700, exist_ok=True)
        for file in files:
            identity.write(own / file, (folder / file).read_bytes())


def clients(folder: Path) -> dict[str, list[str]]:
    """Callers with a key of their own, and their models; raises `InvalidInput` naming the file."""
    path = folder / CLIENTS
    if not path.exists():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, list[str]])
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"{path}: {error}; accepted: a list of models for each name") from error


def admit(folder: Path, name: str, models: Sequence[str]) -> Path:
    """Give a caller a key of its own for some models (`*`: all); the file of the key."""
    check_model_name(name)  # it is a part of subjects as well
    if name in (*USERS, SERVER):
        raise InvalidInput(f"name: {name!r} is a part of Driftloop; accepted: another name")
    for model in models:
        if model != ALL:
            check_model_name(model)
    known = clients(folder) | {name: sorted(set(models))}
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(folder, known)
    prepare(folder)
    return folder / f"{name}.nk"


def expel(folder: Path, name: str) -> None:
    """Take a caller's key away; raises `InvalidInput` if there is no such caller."""
    known = clients(folder)
    if name not in known:
        listed = ", ".join(sorted(known)) or "none yet"
        raise InvalidInput(f"name: {name!r} has no key of its own; accepted: {listed}")
    del known[name]
    _write(folder, known)
    for place in (folder, folder / name):
        (place / f"{name}.nk").unlink(missing_ok=True)
    prepare(folder)


def _write(folder: Path, known: dict[str, list[str]]) -> None:
    identity.write(folder / CLIENTS, msgspec.json.format(msgspec.json.encode(known)))


def _permissions(its: Rights) -> dict[str, object]:
    made: dict[str, object] = {
        "publish": {"allow": its.publish, "deny": its.deny},
        "subscribe": {"allow": its.subscribe},
    }
    if its.answers:
        made["allow_responses"] = {"max": 1, "expires": f"{ANSWER_SECONDS}s"}
    return made
