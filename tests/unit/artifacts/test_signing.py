from pathlib import Path
from typing import Any

import msgspec
import pytest

from driftloop.artifacts import signing
from driftloop.bus import identity
from driftloop.bus.identity import Identity, Trust
from driftloop.contracts import chain, codec
from driftloop.contracts.chain import Entry, Link
from driftloop.contracts.events import CandidateTrained
from driftloop.contracts.manifest import Manifest, Window, canonical
from driftloop.contracts.names import digest
from driftloop.contracts.state import ModelState, Promotion, Version
from tests.support import synthetic

MODEL = "tide"
USERS = ("trainer", "registry", "validation")


class Keys:
    """The key of each user, and what all of them trust."""

    def __init__(self, folder: Path) -> None:
        identity.make(folder, USERS)
        self.of: dict[str, Identity] = {
            user: identity.identity(str(folder), user) for user in USERS
        }
        self.trust: Trust = identity.trust(str(folder))


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


def manifest(version: int = 1, **changes: Any) -> Manifest:
    return msgspec.structs.replace(synthetic.manifest(MODEL, version), **changes)


def version(keys: Keys, number: int = 1, by: str = "trainer") -> Version:
    its = manifest(number)
    return Version(
        manifest=its,
        manifest_sha256=digest(canonical(its)),
        run="r",
        stage="candidate",
        signature=signing.signed_manifest(keys.of[by], its),
    )


def promotion(keys: Keys, number: int, of: Version, by: str = "registry") -> Promotion:
    made = Promotion(
        model=MODEL,
        number=number,
        version=of.manifest.version,
        previous=0,
        manifest_sha256=of.manifest_sha256,
        model_sha256=of.manifest.model_sha256,
    )
    return signing.countersigned(keys.of[by], made)


def state(keys: Keys, **changes: Any) -> ModelState:
    made = {at: version(keys, at) for at in (1, 2)}
    good = ModelState(model=MODEL, champion=1, versions=made, promotion=promotion(keys, 1, made[1]))
    return msgspec.structs.replace(good, **changes)


def test_the_bytes_of_a_manifest_are_the_same_after_the_wire() -> None:
    its = manifest(metrics={"b": 1, "a": 0.1}, tried=(Window(name="newest", rows=3),))
    event = CandidateTrained(model=MODEL, run="r", version=1, manifest=its, manifest_sha256="")
    back = codec.decode_event(codec.encode(event))
    assert isinstance(back, CandidateTrained)
    assert canonical(back.manifest) == canonical(its)
    assert canonical(its).startswith(b'{"cpu_seconds":')


def test_a_field_that_is_added_later_leaves_the_bytes_of_older_manifests() -> None:
    class Newer(Manifest, frozen=True, kw_only=True):
        country: str = ""
        parts: tuple[str, ...] = ()

    its = manifest(tried=(Window(name="newest"),))
    fields = {name: getattr(its, name) for name in its.__struct_fields__}
    assert canonical(Newer(**fields)) == canonical(its)
    assert canonical(manifest(operators=("MatMul",))) != canonical(its)


def test_a_manifest_that_the_trainer_signed_is_proved(keys: Keys) -> None:
    assert signing.version_problem(keys.trust, MODEL, 1, version(keys)) == ""


def test_without_keys_nothing_is_signed_and_all_is_proved() -> None:
    its = manifest()
    assert signing.signed_manifest(None, its) == b""
    assert signing.manifest_problem(None, its, "", b"") == ""
    assert signing.champion_problem(None, ModelState(model=MODEL, champion=3)) == ""


def forged(keys: Keys) -> dict[str, tuple[Version, str]]:
    good = version(keys)
    replace = msgspec.structs.replace
    return {
        "not signed": (replace(good, signature=b""), "is not signed; accepted: .* by trainer"),
        "another key": (version(keys, by="validation"), "is not by a key of trainer"),
        "cut off": (replace(good, signature=good.signature[:-1]), "is not by a key"),
        "other bytes": (replace(good, manifest=manifest(model_bytes=7)), "has digest"),
        "another digest": (replace(good, manifest_sha256="ab" * 32), "accepted: abababab"),
        "another version's": (version(keys, 2), "has the manifest of version 2"),
    }


@pytest.mark.fault(36, "a manifest without a signature, with another's, or of another version")
@pytest.mark.parametrize(
    "how",
    ["not signed", "another key", "cut off", "other bytes", "another digest", "another version's"],
)
def test_a_manifest_that_is_not_the_trainers_is_refused(keys: Keys, how: str) -> None:
    its, says = forged(keys)[how]
    problem = signing.version_problem(keys.trust, MODEL, 1, its)
    assert problem
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(problem)


def test_a_signature_is_good_for_one_purpose(keys: Keys) -> None:
    its = manifest()
    raw = keys.of["trainer"].sign(canonical(its))
    other = keys.of["trainer"].sign(signing.statement("promotion", canonical(its)))
    for signature in (raw, other):
        assert signing.manifest_problem(keys.trust, its, digest(canonical(its)), signature)


def test_nothing_that_is_signed_is_text_that_a_server_could_ask_to_be_signed() -> None:
    with pytest.raises(UnicodeDecodeError):
        signing.statement("manifest", b"{}").decode()


def test_a_champion_is_proved_by_both_signatures(keys: Keys) -> None:
    assert signing.champion_problem(keys.trust, state(keys)) == ""


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("other champion", "is of version 1 .*; the state has version 2"),
        ("no promotion", "there is no promotion of it"),
        ("trainer's hand", "is not by a key of registry"),
        ("not signed", "promotion 1 .* is not signed"),
        ("number", "is not by a key of registry"),
        ("unsigned version", "manifest of version 1: is not signed"),
        ("not described", "version 7: is not described"),
        ("another model's", "is of version 1 of tide"),
    ],
)
def test_a_champion_that_was_not_decided_on_is_refused(keys: Keys, how: str, says: str) -> None:
    good = state(keys)
    one = good.versions[1]
    its = promotion(keys, 1, one)
    replace = msgspec.structs.replace
    made: dict[str, Any] = {
        "other champion": {"champion": 2},
        "no promotion": {"promotion": None},
        "trainer's hand": {"promotion": promotion(keys, 1, one, by="trainer")},
        "not signed": {"promotion": replace(its, signature=b"")},
        "number": {"promotion": replace(its, number=9)},
        "unsigned version": {"versions": {1: replace(one, signature=b"")}},
        "not described": {"champion": 7},
        "another model's": {"model": "other"},
    }
    problem = signing.champion_problem(keys.trust, replace(good, **made[how]))
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(problem)


def test_a_link_of_the_chain_is_signed_with_its_place(keys: Keys) -> None:
    entries = (Entry(3, b"a" * 32), Entry(9, b"b" * 32))
    before = chain.genesis(MODEL)
    link = Link(
        model=MODEL,
        number=0,
        before=before,
        entries=entries,
        after=chain.extended(before, entries),
        done=2,
    )
    signed = signing.signed_link(keys.of["registry"], link)
    assert signing.link_signed(keys.trust, signed)
    assert not signing.link_signed(keys.trust, link)
    for changes in ({"number": 1}, {"model": "other"}, {"after": before}):
        assert not signing.link_signed(keys.trust, msgspec.structs.replace(signed, **changes))
