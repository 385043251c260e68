"""Keys: who signs is known, files are their owner's alone, and a damaged one is told of."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.bus import authorization, identity, signed
from driftloop.bus.rights import USERS
from driftloop.contracts.errors import InvalidInput, InvalidName

SUBJECTS = st.sampled_from(["$KV.MODELS.m", "events.m.x"])
TEXTS = st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=20)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("there") / "keys"
    identity.make(folder, ["registry", "trainer"])
    return folder


def test_what_one_signs_only_that_one_has_signed(keys: Path) -> None:
    registry, trust = identity.load(str(keys), "registry")
    signature = registry.sign(b"promoted")
    assert trust.signed("registry", b"promoted", signature)
    assert not trust.signed("registry", b"promoted!", signature)
    assert not trust.signed("trainer", b"promoted", signature)
    assert not trust.signed("nobody", b"promoted", signature)
    assert not trust.signed("registry", b"promoted", signature[:-1])
    assert not trust.signed("registry", b"promoted", bytes(64))


def test_keys_are_for_their_owner_alone_and_are_not_shown(keys: Path) -> None:
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    for path in keys.glob("*.nk"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        mine = identity.from_file(path)
        assert mine.seed() not in repr(mine)
        assert mine.name == path.stem


def test_keys_that_are_there_stay_and_a_replaced_one_is_trusted_beside_the_new(
    tmp_path: Path,
) -> None:
    first = identity.make(tmp_path, ["registry"])
    assert identity.make(tmp_path, ["registry"]) == first
    old = identity.identity(str(tmp_path), "registry")
    (tmp_path / "registry.nk").unlink()
    assert identity.make(tmp_path, ["registry"]) != first
    assert identity.trust(str(tmp_path)).signed("registry", b"x", old.sign(b"x"))


def test_a_key_others_can_read_is_refused(keys: Path, tmp_path: Path) -> None:
    path = tmp_path / "registry.nk"
    path.write_bytes((keys / "registry.nk").read_bytes())
    path.chmod(0o644)
    with pytest.raises(InvalidInput, match=r"registry\.nk has mode 0644; accepted: 0600"):
        identity.from_file(path)


@pytest.mark.parametrize("seed", [b"", b"SU", b"not a seed", b"S" * 58, b"\xff" * 58])
def test_a_damaged_seed_is_told_of(seed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "drift.nk"
    path.write_bytes(seed)
    path.chmod(0o600)
    with pytest.raises(InvalidInput, match=r"key of drift: .*accepted: an nkey seed"):
        identity.from_file(path)


def test_a_key_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"ingest\.nk: No such file"):
        identity.load(str(tmp_path), "ingest")


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"registry": ["X"]}', '{"registry": ["U' + "A" * 55 + '"]}']
)
def test_public_keys_that_are_none_are_told_of(text: str, tmp_path: Path) -> None:
    (tmp_path / "public.json").write_text(text)
    with pytest.raises(InvalidInput, match="keys"):
        identity.trust(str(tmp_path))


@given(
    st.sampled_from(["$KV.MODELS.m", "events.m.x"]), TEXTS, st.binary(max_size=40), st.integers()
)
def test_a_signature_covers_subject_headers_and_payload(
    keys: Path, subject: str, text: str, payload: bytes, at: int
) -> None:
    registry, trust = identity.load(str(keys), "registry")
    headers = dict.fromkeys(signed.covered(subject), text)
    headers = signed.sign(registry, subject, headers, payload)
    assert signed.holds(trust, "registry", subject, headers, payload)
    changed = [
        (subject + "x", headers, payload),
        (subject, headers, payload + b"x"),
        *(
            (subject, headers | {name: headers.get(name, "") + "x"}, payload)
            for name in signed.covered(subject)
        ),
        (subject, headers | {signed.SIGNATURE: "not base64!"}, payload),
        (subject, {n: v for n, v in headers.items() if n != signed.SIGNATURE}, payload),
    ]
    assert not signed.holds(trust, "registry", *changed[at % len(changed)])


def test_a_caller_is_given_a_key_and_loses_it(tmp_path: Path) -> None:
    path = authorization.admit(tmp_path, "shop", ["parcels"])
    text = (tmp_path / "authorization.conf").read_text()
    assert identity.from_file(path).public in text
    assert '"infer.parcels"' in text
    assert len(text.split('"nkey"')) == len(USERS) + 2
    authorization.expel(tmp_path, "shop")
    assert not path.exists()
    assert '"infer.parcels"' not in (tmp_path / "authorization.conf").read_text()
    with pytest.raises(InvalidInput, match="'shop' has no key of its own; accepted: none yet"):
        authorization.expel(tmp_path, "shop")


@pytest.mark.parametrize(
    ("name", "models"), [("registry", ["m"]), ("a.b", ["m"]), ("x", ["a.>"]), ("../x", ["m"])]
)
def test_a_caller_cannot_be_called_like_a_service_or_be_given_a_wildcard(
    tmp_path: Path, name: str, models: list[str]
) -> None:
    with pytest.raises((InvalidInput, InvalidName)):
        authorization.admit(tmp_path, name, models)
