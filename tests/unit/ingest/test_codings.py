import asyncio
import gzip
import zlib

import pyarrow as pa
import pytest

from driftloop.contracts.errors import Reject
from driftloop.ingest.codings import Unpacker, coding_of, unpack
from driftloop.runtime.problems import TooLarge, UnsupportedType

TEXT = b"".join(b'{"a":%d}\n' % number for number in range(30_000))
PACKED = {
    "gzip": gzip.compress(TEXT),
    "zstd": pa.Codec("zstd").compress(TEXT, asbytes=True),
}
CODINGS = pytest.mark.parametrize("coding", list(PACKED))


def test_a_coding_is_named_in_any_case_and_none_is_identity() -> None:
    assert [coding_of(name) for name in ("GZip", " zstd ", "x-gzip")] == ["gzip", "zstd", "gzip"]
    assert [coding_of(name) for name in ("", "identity")] == ["", ""]


@pytest.mark.parametrize("name", ["br", "deflate", "gzip, zstd", "gzip, gzip", "x-zstd"])
def test_another_coding_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(UnsupportedType, match=f"'{name}' is .*accepted: gzip, zstd, identity"):
        coding_of(name)


@CODINGS
async def test_what_was_packed_comes_out_whatever_its_size(coding: str) -> None:
    unpacker = Unpacker(len(TEXT))
    small = gzip.compress(b"x") if coding == "gzip" else pa.Codec("zstd").compress(b"x", True)
    assert await unpacker.unpack(coding, small) == b"x"
    assert len(PACKED[coding]) > 4096
    several = await asyncio.gather(*(unpacker.unpack(coding, PACKED[coding]) for _ in range(5)))
    assert several == [TEXT] * 5


@CODINGS
def test_parts_one_after_another_are_one_body(coding: str) -> None:
    assert unpack(coding, PACKED[coding] * 2, 1 << 20) == TEXT * 2


@CODINGS
def test_the_bound_is_exact(coding: str) -> None:
    assert unpack(coding, PACKED[coding], len(TEXT)) == TEXT
    with pytest.raises(TooLarge, match=f"more than {len(TEXT) - 1} bytes once unpacked; accepted"):
        unpack(coding, PACKED[coding], len(TEXT) - 1)


@CODINGS
def test_a_bomb_is_refused_before_it_is_unpacked(coding: str) -> None:
    blank = bytes(64 << 20)
    bomb = gzip.compress(blank, 1) if coding == "gzip" else pa.Codec("zstd").compress(blank, True)
    assert len(bomb) < 400_000
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(TooLarge, match="more than 1000000 bytes once unpacked"):
        unpack(coding, bomb, 1_000_000)
    assert pa.default_memory_pool().max_memory() - before < 8 << 20


@CODINGS
def test_what_is_damaged_is_refused(coding: str) -> None:
    whole = PACKED[coding]
    for body in (
        whole[:-1],
        whole[:100],
        whole[:3],
        whole + b"xyz",
        b"not packed at all",
        bytes(4) + whole[4:],
    ):
        with pytest.raises(Reject, match=f"body: not {coding} .*; accepted: whole {coding} data"):
            unpack(coding, body, 1 << 20)


def test_one_coding_is_not_read_as_another() -> None:
    for coding, body in (
        ("gzip", PACKED["zstd"]),
        ("zstd", PACKED["gzip"]),
        ("zstd", zlib.compress(b"x")),
    ):
        with pytest.raises(Reject, match=f"not {coding}"):
            unpack(coding, body, 1 << 20)
