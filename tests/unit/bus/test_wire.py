"""What the server sends is read alike however it is cut into pieces."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError

from driftloop.bus import wire
from driftloop.bus.wire import Wire, headers_of

BLOCK = b"NATS/1.0\r\ncontent-type: application/x-msgpack\r\nrequest-timeout: 2\r\n\r\n"


class Client:
    """Writes down what the parser says to a client."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        self.said.append((sid, subject, reply, data, headers))

    async def _process_ping(self) -> None:
        self.said.append(("ping",))

    async def _process_pong(self) -> None:
        self.said.append(("pong",))

    async def _process_err(self, text: str) -> None:
        self.said.append(("err", text))

    async def _process_info(self, info: dict[str, Any]) -> None:
        self.said.append(("info", info["server_id"]))


def message(subject: bytes, sid: bytes, reply: bytes, data: bytes, headers: bytes = b"") -> bytes:
    words = [subject, sid, *filter(None, [reply])]
    if headers:
        words += [b"%d" % len(headers)]
    words += [b"%d" % (len(headers) + len(data))]
    return (
        (b"HMSG " if headers else b"MSG ") + b" ".join(words) + b"\r\n" + headers + data + b"\r\n"
    )


SAID = [
    (b'INFO {"server_id":"one"}\r\n', ("info", "one")),
    (b"PING\r\n", ("ping",)),
    (message(b"a.b", b"7", b"", b"\r\nMSG a 1 3\r\n"), (7, b"a.b", b"", b"\r\nMSG a 1 3\r\n", b"")),
    (message(b"a", b"8", b"to", b""), (8, b"a", b"to", b"", b"")),
    (message(b"a", b"7", b"to", b"data", BLOCK), (7, b"a", b"to", b"data", BLOCK)),
    (message(b"a", b"7", b"", b"", BLOCK), (7, b"a", b"", b"", BLOCK)),
    (b"+OK\r\n", None),
    (b"-ERR 'Slow'\r\n", ("err", "slow'")),
    (message(b"in", b"9", b"to.1", b"x" * 5_000), (9, b"in", b"to.1", b"x" * 5_000, b"")),
    (b"PONG\r\n", ("pong",)),
]  # fmt: skip


@given(st.lists(st.sampled_from(SAID), max_size=12), st.data())
async def test_the_pieces_make_no_difference(said: list[Any], data: st.DataObject) -> None:
    whole = b"".join(raw for raw, _ in said)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    client = Client()
    parser = Wire(client)  # type: ignore[arg-type]  # what a parser needs of a client
    direct: list[Any] = []
    parser.direct[b"9"] = direct.extend
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        await parser.parse(whole[start:end])
    expected = [told for _, told in said if told is not None]
    assert [_without_quote(told) for told in client.said] == [e for e in expected if e[0] != 9]
    assert [(9, to[0], to[1], to[3], to[2]) for to in direct] == [e for e in expected if e[0] == 9]
    assert not parser.buf


def _without_quote(told: tuple[Any, ...]) -> tuple[Any, ...]:
    return ("err", told[1].strip("'") + "'") if told[0] == "err" else told


async def test_what_comes_together_is_heard_together() -> None:
    parser = Wire(Client())  # type: ignore[arg-type]  # as above
    heard: list[list[bytes]] = []
    parser.direct[b"1"] = lambda asked: heard.append([request[3] for request in asked])
    parser.direct[b"2"] = parser.direct[b"1"]
    said = b"".join(message(b"a", sid, b"to", b"at-" + sid) for sid in (b"1", b"2", b"1"))
    await parser.parse(said + b"PING\r\n" + message(b"a", b"1", b"to", b"last"))
    assert sorted(heard) == [[b"at-1", b"at-1", b"last"], [b"at-2"]]


async def test_what_was_heard_before_the_line_went_wrong_is_answered() -> None:
    parser = Wire(Client())  # type: ignore[arg-type]  # as above
    heard: list[Any] = []
    parser.direct[b"1"] = heard.extend
    with pytest.raises(ProtocolError):
        await parser.parse(message(b"a", b"1", b"to", b"good") + b"MSG a x y\r\n")
    assert [request[3] for request in heard] == [b"good"]


@pytest.mark.parametrize(
    "raw", [b"MSG a\r\n", b"MSG a x y\r\n", b"HMSG a 1 z 4\r\n\r\n", b"WHAT\r\n", b"MSG\r\n"]
)
async def test_what_no_server_says_ends_the_line(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        await Wire(Client()).parse(raw)  # type: ignore[arg-type]  # as above


async def test_a_line_without_an_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST_LINE", 100)
    parser = Wire(Client())  # type: ignore[arg-type]  # as above
    await parser.parse(b"M" * 60)
    with pytest.raises(ProtocolError):
        await parser.parse(b"M" * 60)


async def test_what_came_over_a_line_that_is_gone_is_forgotten() -> None:
    client = Client()
    parser = Wire(client)  # type: ignore[arg-type]  # as above
    await parser.parse(b"MSG a 1 100\r\nhalf of")
    parser.reset()
    await parser.parse(message(b"b", b"2", b"", b"whole"))
    assert client.said == [(2, b"b", b"", b"whole", b"")]


async def test_the_rest_after_a_reset_in_between_is_of_no_use() -> None:
    client = Client()
    parser = Wire(client)  # type: ignore[arg-type]  # as above
    parser.direct[b"1"] = lambda *_: parser.reset()
    await parser.parse(message(b"a", b"1", b"", b"") + b"MSG a 1 100\r\nhalf of")
    await parser.parse(message(b"b", b"2", b"", b"whole"))
    assert client.said == [(2, b"b", b"", b"whole", b"")]


def test_headers_are_read_as_they_are_written() -> None:
    told = {"content-type": "application/x-msgpack", "request-timeout": "2"}
    assert headers_of(BLOCK) == told
    assert headers_of(b"NATS/1.0\r\nA:b:c\r\nno colon\r\nA: d\r\n\r\n") == {"A": "d"}
    long = b"NATS/1.0\r\nlong: " + b"x" * 5_000 + b"\r\n\r\n"
    assert headers_of(long) == {"long": "x" * 5_000}
