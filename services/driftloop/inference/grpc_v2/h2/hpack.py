"""Header compression of HTTP/2 (HPACK, RFC 7541): a full decoder, and literals for the answers."""

from typing import Final

from driftloop.inference.grpc_v2.h2.huffman import HpackError, unpacked

TABLE_BYTES: Final = 4_096
"""Size of the dynamic table, as the standard sets it where nothing else is agreed on."""
MOST_FIELDS: Final = 256

_PSEUDO: Final = (
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    *[(":status", status) for status in ["200", "204", "206", "304", "400", "404", "500"]],
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
)
_NAMES: Final = (
    "accept-language accept-ranges accept access-control-allow-origin age allow authorization "
    "cache-control content-disposition content-encoding content-language content-length "
    "content-location content-range content-type cookie date etag expect expires from host "
    "if-match if-modified-since if-none-match if-range if-unmodified-since last-modified link "
    "location max-forwards proxy-authenticate proxy-authorization range referer refresh "
    "retry-after server set-cookie strict-transport-security transfer-encoding user-agent vary "
    "via www-authenticate"
)
STATIC: Final = (*_PSEUDO, *[(name, "") for name in _NAMES.split()])
"""The static table (appendix A); its first entry has the index 1."""


Fields = list[tuple[str, str]]


class Decoder:
    """Header blocks of one connection, in their order."""

    def __init__(self) -> None:
        self._table: Fields = []
        self._size = 0
        self._limit = TABLE_BYTES

    def decode(self, block: bytes) -> tuple[Fields, bool]:
        """The fields, and whether the same bytes mean the same until the table changes.

        Raises `HpackError`.
        """
        try:
            return self._decode(block)
        except IndexError as error:
            raise HpackError("a header block ends too early, or names no entry") from error

    def _decode(self, block: bytes) -> tuple[Fields, bool]:
        fields: Fields = []
        at = 0
        same = True
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = _integer(block, at, 7)
                fields.append(self._entry(index))
            elif first & 0xE0 == 0x20:
                limit, at = _integer(block, at, 5)
                if fields:
                    raise HpackError("the table's size changes within a header block")
                self._resize(limit)
                same = False
            else:
                kept = bool(first & 0x40)
                index, at = _integer(block, at, 6 if kept else 4)
                name, at = (self._entry(index)[0], at) if index else _text(block, at)
                value, at = _text(block, at)
                fields.append((name, value))
                if kept:
                    self._insert(name, value)
                    same = False
            if len(fields) > MOST_FIELDS:
                raise HpackError(f"a header block has more than {MOST_FIELDS} fields")
        return fields, same

    def _entry(self, index: int) -> tuple[str, str]:
        if index == 0:
            raise HpackError("index 0 names no entry")
        if index <= len(STATIC):
            return STATIC[index - 1]
        return self._table[index - len(STATIC) - 1]

    def _resize(self, limit: int) -> None:
        if limit > TABLE_BYTES:
            raise HpackError(f"a dynamic table of {limit} bytes was not agreed on")
        self._limit = limit
        self._evict()

    def _insert(self, name: str, value: str) -> None:
        self._table.insert(0, (name, value))
        self._size += len(name) + len(value) + 32
        self._evict()

    def _evict(self) -> None:
        while self._size > self._limit:
            name, value = self._table.pop()
            self._size -= len(name) + len(value) + 32


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """The number with a prefix of so many bits at `at`, and where it ends."""
    most = (1 << bits) - 1
    value = block[at] & most
    at += 1
    if value < most:
        return value, at
    for shift in (0, 7, 14, 21):
        byte = block[at]
        at += 1
        value += (byte & 127) << shift
        if byte < 128:
            return value, at
    raise HpackError("a number has too many bytes")


def _text(block: bytes, at: int) -> tuple[str, int]:
    """The text at `at`, and where it ends."""
    packed = block[at] & 0x80
    size, at = _integer(block, at, 7)
    end = at + size
    if end > len(block):
        raise HpackError("a text ends after its header block")
    data = block[at:end]
    return (unpacked(data) if packed else data).decode("latin-1"), end


def literal(name: str, value: str) -> bytes:
    """A field that leaves the tables as they are."""
    return b"\0" + _sized(name) + _sized(value)


def kept(name: str, value: str) -> bytes:
    """A field that the reader puts into its dynamic table, as its newest entry."""
    return b"\x40" + _sized(name) + _sized(value)


def _sized(text: str) -> bytes:
    data = text.encode("latin-1")
    size = len(data)
    if size < 127:
        return bytes((size,)) + data
    made = bytearray((127,))
    size -= 127
    while size > 127:
        made.append(size & 127 | 128)
        size >>= 7
    made.append(size)
    return bytes(made) + data
