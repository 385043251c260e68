"""Who a process is: one Ed25519 key (an nkey) that logs in to NATS and signs what is said.

A folder of keys holds `<user>.nk` for each user, readable by its owner alone, and `public.json`,
the public keys of all. A process needs its own key and `public.json`, nothing else.
https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/nkey_auth
"""

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import nkeys
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from driftloop.bus.rights import inbox
from driftloop.contracts.errors import InvalidInput

PUBLIC: Final = "public.json"
OTHERS: Final = 0o077
SIGNATURE_BYTES: Final = 64


class Identity:
    """One user's key pair. It never shows its seed."""

    def __init__(self, name: str, seed: bytes) -> None:
        self.name = name
        self._seed = bytearray(seed)  # nkeys wants one it can wipe
        try:
            self._pair = nkeys.from_seed(bytearray(seed))
            self.public = bytes(self._pair.public_key).decode()
        except (nkeys.NkeysError, binascii.Error, ValueError) as error:
            raise InvalidInput(f"key of {name}: {error!r}; accepted: an nkey seed") from error

    def __repr__(self) -> str:
        return f"Identity({self.name!r}, {self.public})"

    def seed(self) -> str:
        """The seed, for the NATS client."""
        return self._seed.decode()

    def sign(self, data: bytes) -> bytes:
        """The Ed25519 signature of `data` (RFC 8032), 64 bytes."""
        return bytes(self._pair.sign(data))


class Trust:
    """The public keys of each user; several while one is being replaced."""

    def __init__(self, keys: Mapping[str, Sequence[str]]) -> None:
        self._keys = {user: [_verifier(user, key) for key in of] for user, of in keys.items()}

    def signed(self, user: str, data: bytes, signature: bytes) -> bool:
        """Whether a key of `user` made this signature of `data`."""
        return any(_verified(key, data, signature) for key in self._keys.get(user, ()))


class Login(NamedTuple):
    """Who connects, whom it trusts, and the authority of the server's certificate.

    `trust` is None where there are no keys: nothing is verified then. `ca` is a file (PEM); empty
    is no TLS.
    """

    identity: Identity | None = None
    trust: Trust | None = None
    ca: str = ""

    @property
    def inbox(self) -> str:
        """What the subjects begin with on which answers come."""
        return inbox(self.identity.name) if self.identity is not None else "_INBOX"


def load(folder: str, user: str) -> tuple[Identity, Trust]:
    """The identity of `user` and the keys of all; raises `InvalidInput` that names the file."""
    return identity(folder, user), trust(folder)


def identity(folder: str, user: str) -> Identity:
    """The key of one user."""
    return from_file(Path(folder) / f"{user}.nk")


def from_file(path: Path) -> Identity:
    """The key in a file, which bears its user's name."""
    try:
        mode = path.stat().st_mode & 0o777
        seed = path.read_bytes().strip()
    except OSError as error:
        raise InvalidInput(f"keys: {path}: {error.strerror}; accepted: a readable seed") from error
    if mode & OTHERS:
        raise InvalidInput(f"keys: {path} has mode {mode:04o}; accepted: 0600, its owner's alone")
    return Identity(path.stem, seed)


def trust(folder: str) -> Trust:
    """The public keys of all users."""
    path = Path(folder) / PUBLIC
    try:
        keys = msgspec.json.decode(path.read_bytes(), type=dict[str, list[str]])
    except OSError as error:
        raise InvalidInput(f"keys: {path}: {error.strerror}; accepted: public keys") from error
    except msgspec.MsgspecError as error:
        what = f"keys: {path}: {error}; accepted: a list of public keys for each user"
        raise InvalidInput(what) from error
    return Trust(keys)


def make(folder: Path, users: Sequence[str]) -> dict[str, str]:
    """Make the keys that are missing, and `public.json`; the public key of each user."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made: dict[str, str] = {}
    for user in users:
        path = folder / f"{user}.nk"
        if not path.exists():
            seed = bytes(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER))
            write(path, seed + b"\n")
        made[user] = identity(str(folder), user).public
    write(folder / PUBLIC, msgspec.json.format(msgspec.json.encode(_known(folder, made))))
    return made


def _known(folder: Path, made: Mapping[str, str]) -> dict[str, list[str]]:
    """Public keys that are there stay; one of ours that is new is added."""
    path = folder / PUBLIC
    known: dict[str, list[str]] = {}
    if path.exists():
        known = msgspec.json.decode(path.read_bytes(), type=dict[str, list[str]])
    for user, public in made.items():
        if public not in known.setdefault(user, []):
            known[user].append(public)
    return known


def write(path: Path, data: bytes) -> None:
    """Write a file in one step, for its owner alone."""
    beside = path.with_suffix(".new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(path)


def _verifier(user: str, public: str) -> VerifyKey:
    """The key in an nkey's text: a prefix byte, 32 bytes, and a checksum of 2, in base 32."""
    try:
        raw = base64.b32decode(public + "=" * (-len(public) % 8))
        checked = nkeys.crc16(bytearray(raw[:-2])) == int.from_bytes(raw[-2:], "little")
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"keys: {user}: {public!r} is no public nkey") from error
    if len(raw) != 35 or not checked:
        raise InvalidInput(f"keys: {user}: {public!r} is no public nkey; accepted: U and 55 more")
    return VerifyKey(raw[1:-2])


def _verified(key: VerifyKey, data: bytes, signature: bytes) -> bool:
    if len(signature) != SIGNATURE_BYTES:
        return False
    try:
        key.verify(data, signature)
    except BadSignatureError:
        return False
    return True
