import asyncio
import contextlib
import gzip
import zlib
from collections.abc import Callable
from itertools import pairwise

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.runtime.http1 import Exchange, Limits
from driftloop.runtime.http1.chunked import EXTENSION_BYTES, LINE_BYTES, TRAILER_BYTES, Chunked
from driftloop.runtime.http1.codings import accepts_gzip, compress, inflate, worth_it
from driftloop.runtime.http1.cors import Cors
from driftloop.runtime.http1.heads import Heads
from driftloop.runtime.http1.intake import Intake
from driftloop.runtime.http1.pool import Pool
from driftloop.runtime.http1.refusals import Refused


def decoded(data: bytes, limit: int = 1000) -> tuple[bytes, bytes]:
    """The body of `data`, and what follows it."""
    reader, left = Chunked(limit), bytearray(data)
    assert reader.feed(left)
    return bytes(reader.body), bytes(left)


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"0\r\n\r\n", b""),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"A\r\n0123456789\r\n00a\r\n0123456789\r\n000\r\n\r\n", b"0123456789" * 2),
        (b'1;a=b;c="d"\r\nx\r\n1 ; y\r\ny\r\n0;z\r\n\r\n', b"xy"),
        (b"1\r\nx\r\n0\r\nTrailer: 1\r\nOther:\r\n\r\n", b"x"),
    ],
)
def test_chunks_are_put_together_and_all_else_is_dropped(data: bytes, body: bytes) -> None:
    assert decoded(data + b"GET /next") == (body, b"GET /next")
    reader, left = Chunked(1000), bytearray()
    for place in range(len(data)):
        left += data[place : place + 1]
        assert reader.feed(left) == (place == len(data) - 1)
    assert reader.body == body


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"1_0\r\n",
        b"\xb2\r\n",
        b"1\n",
        b"1\r",
        b"1\rx\n",
        b"1;a\nb\r\n",
        b"1;a\x00\r\n",
        b"11111111111111111\r\n",
        b"1\r\nxy\r\n",
        b"1\r\nx\n0\r\n\r\n",
        b"1\r\nx0\r\n\r\n",
        b"0\r\nno trailer\r\n\r\n",
        b"0\r\n folded: 1\r\n\r\n",
        b"0\r\nX: 1\n\r\n",
        b"0\r\n\n",
        b"1;" + b"a" * LINE_BYTES + b"\r\nx\r\n",
        b"0\r\n" + b"X: 1\r\n" * (TRAILER_BYTES // 6 + 1) + b"\r\n",
        b"0\r\nX: " + b"1" * TRAILER_BYTES + b"\r\n\r\n",
        (b"1;" + b"a" * 200 + b"\r\nx\r\n") * (EXTENSION_BYTES // 200 + 1),
    ],
)
def test_what_is_not_the_chunked_coding_is_refused(data: bytes) -> None:
    reader = Chunked(100_000)
    with pytest.raises(Refused) as caught:
        reader.feed(bytearray(data + b"\r\n\r\n"))  # a lone CR is told from CRLF by what follows
    assert caught.value.status == 400


def test_an_endless_line_is_refused_before_it_ends() -> None:
    with pytest.raises(Refused):
        Chunked(100).feed(bytearray(b"0" * (LINE_BYTES + 2)))


def test_chunks_over_the_limit_are_refused_before_they_come() -> None:
    assert decoded(b"5\r\n01234\r\n5\r\n01234\r\n0\r\n\r\n", limit=10)[0] == b"01234" * 2
    for data in (b"b\r\n", b"5\r\n01234\r\n6\r\n", b"ffffffffffffffff\r\n"):
        with pytest.raises(Refused) as caught:
            Chunked(10).feed(bytearray(data))
        assert caught.value.status == 413


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_body_or_need_more_or_are_refused(data: bytes) -> None:
    reader, left = Chunked(100), bytearray(data)
    with contextlib.suppress(Refused):
        reader.feed(left)
    assert len(reader.body) <= 100


PACKED: dict[bytes, Callable[[bytes], bytes]] = {b"gzip": gzip.compress, b"deflate": zlib.compress}


@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
def test_bodies_are_inflated_up_to_the_limit_and_no_further(coding: bytes) -> None:
    plain = b"a row of numbers " * 100
    packed = PACKED[coding](plain)
    assert inflate(coding, packed, len(plain)) == plain
    with pytest.raises(Refused) as caught:
        inflate(coding, packed, len(plain) - 1)
    assert caught.value.status == 413


def test_a_bomb_is_refused_without_being_inflated() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    with pytest.raises(Refused) as caught:
        inflate(b"gzip", bomb, 1000)
    assert caught.value.status == 413


@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
@pytest.mark.parametrize("damage", ["cut", "tail", "flip", "none"])
def test_damaged_bodies_are_refused(coding: bytes, damage: str) -> None:
    packed = PACKED[coding](b"a row of numbers " * 100)
    damaged = {
        "cut": packed[:-1],
        "tail": packed + b"x",
        "flip": packed[:-3] + bytes([packed[-3] ^ 1]) + packed[-2:],
        "none": b"not packed",
    }[damage]
    with pytest.raises(Refused) as caught:
        inflate(coding, damaged, 10_000)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        (b"", False),
        (b"gzip", True),
        (b"GZip, deflate, br", True),
        (b"x-gzip", True),
        (b"*", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000", False),
        (b"*, gzip;q=0", False),
        (b"gzip;q=0.5", True),
        (b"gzip;q=0.5, identity", False),
        (b"gzip;q=1.0, identity;q=0.5", True),
        (b"gzip;q=2", False),
        (b"br, deflate", False),
        (b"identity, *;q=0", False),
    ],
)
def test_gzip_is_used_when_the_client_takes_it_at_least_as_gladly(
    value: bytes, taken: bool
) -> None:
    assert accepts_gzip(value) is taken


def test_small_and_packed_answers_are_not_compressed() -> None:
    assert not worth_it(b"application/json", 1024)
    assert worth_it(b"application/json", 1025)
    assert worth_it(b"image/svg+xml", 5000)
    assert not worth_it(b"image/png", 5000)
    assert gzip.decompress(compress(b"ab" * 1000)) == b"ab" * 1000


def nobody(_: Exchange, __: bytes) -> None:
    raise AssertionError("not called in these tests")


Request = tuple[str, bytes, list[tuple[bytes, bytes]], bytes]


def ours(pieces: list[bytes]) -> list[Request]:
    """The requests in a stream that comes in these pieces."""

    async def taken() -> list[Request]:
        limits = Limits()
        intake = Intake(Pool(limits, Heads(limits, None, nobody, Cors(()), False)))
        found: list[Request] = []
        for piece in pieces:
            intake.data += piece
            while (head := intake.find()) is not None:
                body = intake.body(head)
                if body is None:
                    break
                found.append((head.method, head.raw_path, list(head.headers), body))
        assert not intake
        return found

    return asyncio.run(taken())


def theirs(stream: bytes) -> list[Request]:
    """The same by h11."""
    found: list[Request] = []
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(stream)
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            found.append((event.method.decode(), event.target, list(event.headers), b""))
        elif isinstance(event, h11.Data):
            found[-1] = (*found[-1][:3], found[-1][3] + event.data)
        elif isinstance(event, h11.EndOfMessage):
            connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            connection.start_next_cycle()
        elif event is h11.NEED_DATA:
            return found


def packet(place: int, body: bytes, chunks: list[int] | None) -> bytes:
    line = b"POST /%d HTTP/1.1\r\nHost: here\r\nX-Number:  %d \r\n" % (place, place)
    if chunks is None:
        return line + b"Content-Length: %d\r\n\r\n" % len(body) + body
    coded, start = b"", 0
    for size in chunks:
        piece = body[start : start + size]
        coded += b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
        start += size
    rest = body[start:]
    coded += b"%X;x=y\r\n%b\r\n" % (len(rest), rest) if rest else b""
    return line + b"Transfer-Encoding: chunked\r\n\r\n" + coded + b"0\r\n\r\n"


def test_a_short_request_may_follow_a_long_one_that_came_in_pieces() -> None:
    long = b"GET /long HTTP/1.1\r\nHost: here\r\nX: " + b"a" * 100
    found = ours([long, b"\r\n\r\nGET /short HTTP/1.1\r\nHost: here\r\n\r\n"])
    assert [path for _, path, _, _ in found] == [b"/long", b"/short"]


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET / HTTP/1.1\r", b"Host"],
        [b"GET / HTTP/1.1", b"\n"],
        [b"\r\n", b"\r\n", b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"],
    ],
)
def test_lines_that_end_wrongly_are_refused_at_once(pieces: list[bytes]) -> None:
    with pytest.raises(Refused) as caught:
        ours(pieces)
    assert caught.value.status == 400


@settings(deadline=None)
@given(
    parts=st.lists(
        st.tuples(
            st.one_of(st.binary(max_size=60), st.just(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n")),
            st.one_of(st.none(), st.lists(st.integers(1, 20), max_size=4)),
        ),
        min_size=1,
        max_size=4,
    ),
    cuts=st.lists(st.integers(0, 1000), max_size=12),
)
def test_pipelined_requests_are_the_same_however_they_are_cut(
    parts: list[tuple[bytes, list[int] | None]], cuts: list[int]
) -> None:
    stream = b"".join(packet(n, body, chunks) for n, (body, chunks) in enumerate(parts))
    places = [0, *sorted(cut % len(stream) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(places)]
    expected = theirs(stream)
    assert [body for *_, body in expected] == [body for body, _ in parts]
    assert ours(pieces) == expected
    assert ours([bytes([byte]) for byte in stream]) == expected
