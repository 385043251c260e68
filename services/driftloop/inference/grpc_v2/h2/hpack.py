"""Header compression of HTTP/2 (HPACK, RFC 7541): a full decoder, and literals for the answers."""

from typing import Final

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

_LENGTHS: Final = (
    "ISXXXXXXXTZXXZXXXXXXXXZXXXXXXXXXBFFHIBDGFFDGDBBBAAABBBBBBBCDKBHFIBCCCCCCCCCCCCCCCCCCCC"
    "CCDCDIOIJBKABABABBBACCBBBABCBAABCCCCCKGJIXPRPPRRRSRSSSSSTSTTRSTSSSSQRSRSSTRQPRRSSQSRRT"
    "QRSSQQRQSRSSPRRRSRRSVVPORSRUVVVWWVTUOQVWWVWTQQVVXWWWPTPQRQQSRRUUTTVSVWVVWWWWWXWWWWWVZ"
)
"""Bits of the code of each byte and of the end (appendix B): A is 5, B is 6, and so on to Z, 30."""


def _codes() -> dict[tuple[int, int], int]:
    """(bits, code) to byte: codes count up in the order of their length, then of the byte."""
    made: dict[tuple[int, int], int] = {}
    code = bits = 0
    for byte in sorted(range(len(_LENGTHS)), key=lambda byte: (_LENGTHS[byte], byte)):
        length = ord(_LENGTHS[byte]) - ord("A") + 5
        code <<= length - bits
        bits = length
        made[bits, code] = byte
        code += 1
    return made


_CODES: Final = _codes()
_END: Final = 256


class HpackError(Exception):
    """A header block that is not to be read; the connection cannot go on."""


class Decoder:
    """Header blocks of one connection, in their order.

    Repeated names are kept with their last value: gRPC reads none that may repeat.
    """

    def __init__(self) -> None:
        self._table: list[tuple[str, str]] = []
        self._size = 0
        self._limit = TABLE_BYTES

    def decode(self, block: bytes) -> tuple[dict[str, str], bool]:
        """The fields, and whether the same bytes mean the same until the table changes.

        Raises `HpackError`.
        """
        try:
            return self._decode(block)
        except IndexError as error:
            raise HpackError("a header block ends too early, or names no entry") from error

    def _decode(self, block: bytes) -> tuple[dict[str, str], bool]:
        fields: dict[str, str] = {}
        at = count = 0
        same = True
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = _integer(block, at, 7)
                name, value = self._entry(index)
                fields[name] = value
            elif first & 0xE0 == 0x20:
                limit, at = _integer(block, at, 5)
                self._resize(limit)
                same = False
            else:
                kept = bool(first & 0x40)
                index, at = _integer(block, at, 6 if kept else 4)
                name, at = (self._entry(index)[0], at) if index else _text(block, at)
                value, at = _text(block, at)
                fields[name] = value
                if kept:
                    self._insert(name, value)
                    same = False
            count += 1
            if count > MOST_FIELDS:
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


def unpacked(data: bytes) -> bytes:
    """Text in Huffman code as it is (section 5.2); raises `HpackError`."""
    made = bytearray()
    code = bits = 0
    for byte in data:
        for shift in range(7, -1, -1):
            code = code << 1 | byte >> shift & 1
            bits += 1
            found = _CODES.get((bits, code))
            if found is not None:
                if found == _END:
                    raise HpackError("a text holds the code of the end")
                made.append(found)
                code = bits = 0
    if bits > 7 or code != (1 << bits) - 1:
        raise HpackError("a text in Huffman code is not filled up with ones")
    return bytes(made)


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
