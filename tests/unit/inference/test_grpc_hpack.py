import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.inference.grpc_v2.h2 import hpack
from driftloop.inference.grpc_v2.h2.hpack import Decoder, kept, literal
from driftloop.inference.grpc_v2.h2.huffman import CODES, HpackError, unpacked


def decoded(decoder: Decoder, text: str) -> dict[str, str]:
    return dict(decoder.decode(bytes.fromhex(text))[0])


def packed(data: bytes) -> bytes:
    """Huffman code, by the table alone."""
    codes = {byte: f"{code:0{bits}b}" for (bits, code), byte in CODES.items()}
    text = "".join(codes[byte] for byte in data)
    text += "1" * (-len(text) % 8)
    return int(text or "0", 2).to_bytes(len(text) // 8, "big")


def test_the_static_table_has_its_places() -> None:
    assert len(hpack.STATIC) == 61
    assert hpack.STATIC[8 - 1] == (":status", "200")
    assert hpack.STATIC[31 - 1] == ("content-type", "")
    assert hpack.STATIC[61 - 1] == ("www-authenticate", "")


@pytest.mark.parametrize(
    "blocks",
    [
        (
            "828684410f7777772e6578616d706c652e636f6d",
            "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ),
        (
            "828684418cf1e3c2e5f23a6ba0ab90f4ff",
            "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ),
    ],
    ids=["C.3", "C.4"],
)
def test_the_requests_of_the_standards_appendix_are_read(blocks: tuple[str, ...]) -> None:
    decoder = Decoder()
    site = {":authority": "www.example.com"}
    plain = {":method": "GET", ":scheme": "http", ":path": "/", **site}
    assert decoded(decoder, blocks[0]) == plain
    assert decoded(decoder, blocks[1]) == {**plain, "cache-control": "no-cache"}
    assert decoded(decoder, blocks[2]) == {
        ":method": "GET",
        ":scheme": "https",
        ":path": "/index.html",
        "custom-key": "custom-value",
        **site,
    }


def test_the_answers_of_the_appendix_are_read_with_what_they_push_out_of_the_table() -> None:
    decoder = Decoder()
    small = "3fe101"  # a table of 256 bytes, as in C.6
    first = decoded(
        decoder,
        small + "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff"
        "6e919d29ad171863c78f0b97c8e9ae82ae43d3",
    )
    assert first == {
        ":status": "302",
        "cache-control": "private",
        "date": "Mon, 21 Oct 2013 20:13:21 GMT",
        "location": "https://www.example.com",
    }
    assert decoded(decoder, "4883640effc1c0bf") == {**first, ":status": "307"}
    assert [name for name, _ in decoder._table] == [":status", "location", "date", "cache-control"]


@given(st.binary(max_size=40))
def test_any_text_comes_back_from_huffman_code(data: bytes) -> None:
    assert unpacked(packed(data)) == data


@given(st.binary(max_size=80))
def test_any_block_is_read_or_refused(block: bytes) -> None:
    with contextlib.suppress(HpackError):
        decoder = Decoder()
        fields, _ = decoder.decode(block)
        assert all(isinstance(value, str) for _, value in fields)
        assert decoder._size <= hpack.TABLE_BYTES


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ("80", "index 0"),
        ("be", "names no entry"),
        ("0005", "ends after"),
        ("00", "too early"),
        ("3fe13f", "not agreed on"),
        ("ffffffffffff", "too many bytes"),
        ("0081ff0161", "not filled up"),
        ("008400000000", "not filled up"),
        ("82" * 257, "more than 256"),
        ("8220", "within a header block"),
    ],
)
def test_a_block_that_breaks_the_standard_is_refused(block: str, says: str) -> None:
    with pytest.raises(HpackError, match=says):
        decoded(Decoder(), block)


@given(st.text("abc-", min_size=1, max_size=300), st.text(" ~%xyz0", max_size=70_000 // 100))
def test_fields_written_here_are_read_here(name: str, value: str) -> None:
    decoder = Decoder()
    assert decoder.decode(literal(name, value)) == ([(name, value)], True)
    assert decoder.decode(kept(name, value)) == ([(name, value)], False)
    if len(name) + len(value) + 32 <= hpack.TABLE_BYTES:
        assert decoder.decode(b"\xbe") == ([(name, value)], True)
