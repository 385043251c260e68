import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.runtime.http1 import Exchange, Handler, Head, Limits
from driftloop.runtime.http1.cors import Cors
from driftloop.runtime.http1.heads import MEMO_BYTES, MEMO_HEADS, Heads
from driftloop.runtime.http1.refusals import Refused

HOST = b"Host: here\r\n"


def hot(_: Exchange, __: bytes) -> None:
    raise AssertionError("not called in these tests")


def app(_: Exchange, __: bytes) -> None:
    raise AssertionError("not called in these tests")


def router(head: Head) -> Handler | None:
    return hot if head.path == "/hot" else None


def heads(*origins: str, limits: Limits | None = None, compress: bool = False) -> Heads:
    return Heads(limits or Limits(), router, app, Cors(origins), compress)


def read(fields: bytes = HOST, line: bytes = b"POST /a HTTP/1.1") -> Head:
    return heads().read(line + b"\r\n" + fields + b"\r\n")


def refused(fields: bytes = HOST, line: bytes = b"POST /a HTTP/1.1") -> int:
    with pytest.raises(Refused) as caught:
        read(fields, line)
    assert caught.value.detail
    return caught.value.status


def test_a_head_has_all_that_the_request_says() -> None:
    head = read(
        b"HOST: here:80\r\nContent-Type: Application/JSON; charset=utf-8\r\nContent-Length: 12\r\n"
        b"X-Two: a\r\nX-Empty:\r\nx-two:\t b \r\n",
        b"POST /v2/m%20x/infer?a=%20&b HTTP/1.1",
    )
    assert (head.method, head.path, head.raw_path) == ("POST", "/v2/m x/infer", b"/v2/m%20x/infer")
    assert (head.query, head.http_version, head.length) == (b"a=%20&b", "1.1", 12)
    assert (head.content_type, head.chunked, head.keep_alive) == ("application/json", False, True)
    assert head.headers[-3:] == ((b"x-two", b"a"), (b"x-empty", b""), (b"x-two", b"b"))
    assert head.get(b"x-two") == b"a, b"
    assert (head.get(b"x-none"), head.get(b"x-none", b"?")) == (b"", b"?")


def test_the_router_picks_who_answers_and_the_app_gets_the_rest() -> None:
    assert read(line=b"GET /hot HTTP/1.1").take is hot
    other = read(line=b"GET /other HTTP/1.1")
    assert (other.handler, other.take) == (None, app)


@pytest.mark.parametrize(
    ("version", "connection", "keep"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: close\r\n", False),
        (b"1.1", b"Connection: keep-alive, Close\r\n", False),
        (b"1.1", b"Connection: x\r\nConnection: close\r\n", False),
        (b"1.1", b"Connection: Upgrade\r\nUpgrade: websocket\r\n", True),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: Keep-Alive\r\n", True),
    ],
)
def test_a_connection_is_kept_as_the_client_asks(
    version: bytes, connection: bytes, keep: bool
) -> None:
    assert read(HOST + connection, b"GET / HTTP/" + version).keep_alive is keep


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        (b"Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        (b"Content-Length: 5, 5\r\n", 400),
        (b"Content-Length: -5\r\n", 400),
        (b"Content-Length: +5\r\n", 400),
        (b"Content-Length: 0x5\r\n", 400),
        (b"Content-Length: 5_0\r\n", 400),
        (b"Content-Length: 5 0\r\n", 400),
        (b"Content-Length: \xb2\r\n", 400),
        (b"Content-Length:\r\n", 400),
        (b"Content-Length: 99999999999999999999999999\r\n", 400),
        (b"Content-Length: 999999999999\r\n", 413),
        (b"Transfer-Encoding: gzip, chunked\r\n", 501),
        (b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", 501),
        (b"Transfer-Encoding: identity\r\n", 501),
        (b"Transfer-Encoding: xchunked\r\n", 501),
        (b"Transfer-Encoding: chunked, chunked\r\n", 400),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Transfer-Encoding:\r\n", 400),
        (b"Transfer-Encoding: chunked, gzip\r\n", 400),
        (b"Transfer-Encoding : chunked\r\n", 400),
        (b"Transfer-Encoding: \x0bchunked\r\n", 400),
        (b"X: a\r\n folded\r\n", 400),
        (b"X: a\r\n\tfolded\r\n", 400),
        (b"X : a\r\n", 400),
        (b" X: a\r\n", 400),
        (b"X\r\n", 400),
        (b": a\r\n", 400),
        (b"X(y): a\r\n", 400),
        (b"X\x00: a\r\n", 400),
        (b"X\xe4: a\r\n", 400),
        (b"X: a\x00b\r\n", 400),
        (b"X: a\x7fb\r\n", 400),
        (b"X: a\nY: b\r\n", 400),
        (b"X: a\rY: b\r\n", 400),
        (b"X: a\r\r\n", 400),
        (b"Host: there\r\n", 400),
        (b"Content-Type: a/b\r\nContent-Type: c/d\r\n", 400),
        (b"Expect: 200-ok\r\n", 417),
        (b"Content-Encoding: br\r\n", 415),
        (b"Content-Encoding: gzip, gzip\r\n", 415),
    ],
)
def test_fields_that_could_be_read_two_ways_are_refused(fields: bytes, status: int) -> None:
    assert refused(HOST + fields) == status
    assert refused(fields + HOST) == status


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b" GET / HTTP/1.1", 400),
        (b"GET\t/ HTTP/1.1", 400),
        (b"GET / a HTTP/1.1", 400),
        (b"GET /\xc3\xa4 HTTP/1.1", 400),
        (b"GET /a\x00 HTTP/1.1", 400),
        (b"GET /a#b HTTP/1.1", 400),
        (b"GET / HTTP/11", 400),
        (b"GET / http/1.1", 400),
        (b"GET / HTCPCP/1.1", 400),
        (b"G(T / HTTP/1.1", 400),
        (b"get / HTTP/1.1", 501),
        (b"BREW / HTTP/1.1", 501),
        (b"CONNECT here:80 HTTP/1.1", 501),
        (b"GET / HTTP/0.9", 505),
        (b"GET / HTTP/1.2", 505),
        (b"GET / HTTP/2.0", 505),
        (b"PRI * HTTP/2.0", 505),
        (b"GET * HTTP/1.1", 400),
        (b"GET a HTTP/1.1", 400),
        (b"GET ftp://here/ HTTP/1.1", 400),
        (b"GET http:/// HTTP/1.1", 400),
        (b"GET http://me@here/ HTTP/1.1", 400),
        (b"GET /%00 HTTP/1.1", 400),
        (b"GET /a%0Db HTTP/1.1", 400),
        (b"GET /a%0ab HTTP/1.1", 400),
        (b"GET /%zz HTTP/1.1", 400),
        (b"GET /% HTTP/1.1", 400),
        (b"GET /%ff HTTP/1.1", 400),
    ],
)
def test_request_lines_that_are_not_served_are_refused(line: bytes, status: int) -> None:
    assert refused(line=line) == status


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", b""),
        (b"/a%2Fb", "/a/b", b""),
        (b"/%C3%A4?x?y", "/\u00e4", b"x?y"),
        (b"http://there:80/a/b?c", "/a/b", b"c"),
        (b"HTTPS://there", "/", b""),
        (b"http://there?c", "/", b"c"),
    ],
)
def test_targets_are_taken_apart(target: bytes, path: str, query: bytes) -> None:
    head = read(line=b"GET " + target + b" HTTP/1.1")
    assert (head.path, head.query) == (path, query)


def test_options_may_ask_about_the_server_as_a_whole() -> None:
    assert read(line=b"OPTIONS * HTTP/1.1").path == "*"


@pytest.mark.parametrize("host", [b"", b"Host: a b\r\n", b"Host: a/b\r\n", b"Host: a@b\r\n"])
def test_a_request_without_a_proper_host_is_refused(host: bytes) -> None:
    assert refused(host) == 400


def test_http_1_0_needs_no_host_and_knows_no_chunks() -> None:
    assert read(b"", b"GET / HTTP/1.0").http_version == "1.0"
    assert refused(b"Transfer-Encoding: chunked\r\n", b"POST / HTTP/1.0") == 400


def test_the_number_of_fields_is_bounded() -> None:
    few = heads(limits=Limits(headers=3))
    assert len(few.read(b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 2 + b"\r\n").headers) == 3
    with pytest.raises(Refused) as caught:
        few.read(b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 3 + b"\r\n")
    assert caught.value.status == 431


def test_a_body_may_be_as_large_as_the_limit() -> None:
    some = heads(limits=Limits(body_bytes=10))
    raw = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n"
    assert some.read(raw % 10).length == 10
    with pytest.raises(Refused, match="10 bytes") as caught:
        some.read(raw % 11)
    assert caught.value.status == 413


def test_a_known_head_is_not_parsed_again_until_forgotten() -> None:
    some = heads()
    raw = b"GET /hot HTTP/1.1\r\n" + HOST + b"\r\n"
    some.read(raw)
    second = some.read(raw)
    assert some.read(bytes(bytearray(raw))) is second
    some.forget()
    assert some.read(raw) is not second


def test_a_head_that_comes_once_is_not_remembered() -> None:
    some = heads()
    for number in range(2 * MEMO_HEADS):
        some.read(b"GET /%d HTTP/1.1\r\n" % number + HOST + b"\r\n")
    assert len(some.young) == 0
    assert len(some._seen) <= MEMO_HEADS


def test_the_memo_is_bounded_in_number_and_size() -> None:
    some = heads()
    often = [some.read(b"GET /hot HTTP/1.1\r\n" + HOST + b"\r\n") for _ in range(2)][1]
    for number in range(2 * MEMO_HEADS):
        for _ in range(2):
            some.read(b"GET /%d HTTP/1.1\r\n" % number + HOST + b"\r\n")
        if number % 100 == 0:
            assert some.read(b"GET /hot HTTP/1.1\r\n" + HOST + b"\r\n") is often
    assert len(some.young) + len(some._old) <= MEMO_HEADS
    before = len(some.young)
    for _ in range(2):
        some.read(b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * MEMO_BYTES + b"\r\n\r\n")
    assert len(some.young) == before


def test_a_refused_head_is_not_remembered() -> None:
    some = heads()
    for _ in range(2):
        with pytest.raises(Refused):
            some.read(b"GET / HTTP/1.1\r\n\r\n")
    assert not some.young


LISTED = "https://a.example"


@pytest.mark.parametrize(
    ("allowed", "origin", "expected"),
    [
        ((), LISTED, b""),
        (("*",), LISTED, b"access-control-allow-origin: *"),
        (("*",), "", b"access-control-allow-origin: *"),
        ((LISTED,), LISTED, b"access-control-allow-origin: https://a.example"),
        ((LISTED,), "https://b.example", b"vary: origin"),
        ((LISTED,), "", b"vary: origin"),
    ],
)
def test_answers_say_which_pages_may_read_them(
    allowed: tuple[str, ...], origin: str, expected: bytes
) -> None:
    field = b"Origin: " + origin.encode() + b"\r\n" if origin else b""
    lines = heads(*allowed).read(b"GET / HTTP/1.1\r\n" + HOST + field + b"\r\n").extra
    assert expected in lines.split(b"\r\n")
    assert (b"allow-origin" in lines) == (b"allow-origin" in expected)
    assert (b"vary: origin" in lines) == (allowed == (LISTED,))


@pytest.mark.parametrize("origin", ["a.example", "https://a.example/", "https://a, https://b", ""])
def test_an_origin_that_is_none_is_an_error_at_the_start(origin: str) -> None:
    with pytest.raises(ValueError, match="cors"):
        Cors([origin])


PIECE = st.one_of(
    st.text("abC:;, \t\r\n\0\x7f\x80\xff=/0159", max_size=12).map(lambda t: t.encode("latin-1")),
    st.sampled_from(
        [b"\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", HOST, b"X:y\r\n"]
    ),
)


@settings(deadline=None)
@given(
    line=st.sampled_from([b"GET / HTTP/1.1\r\n", b"POST /a?b HTTP/1.0\r\n"]),
    pieces=st.lists(PIECE, max_size=6),
)
def test_what_is_accepted_llhttp_accepts_too_with_the_same_framing(
    line: bytes, pieces: list[bytes]
) -> None:
    raw = line + HOST + b"".join(pieces)
    raw = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    try:
        head = heads().read(raw)
    except Refused:
        return
    seen: list[tuple[bytes, bytes]] = []

    class Fields:
        def on_header(self, name: bytes, value: bytes) -> None:
            seen.append((name.lower(), value.strip(b" \t")))

    httptools.HttpRequestParser(Fields()).feed_data(raw)
    assert head.headers == tuple(seen)
    assert raw == _rebuilt(raw, head)
    lengths = [value for name, value in seen if name == b"content-length"]
    assert head.length == (int(lengths[0]) if lengths else 0)
    assert head.chunked == any(name == b"transfer-encoding" for name, _ in seen)


def _rebuilt(raw: bytes, head: Head) -> bytes:
    """The head made of the fields as parsed, with the spelling of `raw`: nothing may be hidden."""
    lines = raw[:-4].split(b"\r\n")
    assert len(lines) == 1 + len(head.headers)
    for line, (name, value) in zip(lines[1:], head.headers, strict=True):
        assert line[: len(name)].lower() == name
        assert line[len(name) :].partition(b":")[2].strip(b" \t") == value
        assert line[len(name) : len(name) + 1] == b":"
    return b"\r\n".join(lines) + b"\r\n\r\n"
