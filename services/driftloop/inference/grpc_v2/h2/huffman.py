"""The Huffman code of HPACK (RFC 7541, section 5.2 and appendix B), read four bits at a time."""

from typing import Final

_LENGTHS: Final = (
    "ISXXXXXXXTZXXZXXXXXXXXZXXXXXXXXXBFFHIBDGFFDGDBBBAAABBBBBBBCDKBHFIBCCCCCCCCCCCCCCCCCCCC"
    "CCDCDIOIJBKABABABBBACCBBBABCBAABCCCCCKGJIXPRPPRRRSRSSSSSTSTTRSTSSSSQRSRSSTRQPRRSSQSRRT"
    "QRSSQQRQSRSSPRRRSRRSVVPORSRUVVVWWVTUOQVWWVWTQQVVXWWWPTPQRQQSRRUUTTVSVWVVWWWWWXWWWWWVZ"
)
"""Bits of the code of each byte and of the end (appendix B): A is 5, B is 6, and so on to Z, 30."""
_END: Final = 256
_PADDING: Final = 7
"""Most bits that fill up the last byte."""


class HpackError(Exception):
    """A header block that is not to be read; the connection cannot go on."""


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


CODES: Final = _codes()

Step = tuple[int, bytes]
"""The place in the tree after four bits, and the byte they finish, if any."""


def _steps() -> tuple[list[list[Step | None]], set[int]]:
    """For each place in the tree of codes the steps by four bits (None reads the end's code), and
    the places at which a text may end: up to seven ones after its last byte.
    """
    places = {(0, 0): 0}
    for bits, code in CODES:
        for cut in range(1, bits):
            places.setdefault((bits - cut, code >> cut), len(places))
    made: list[list[Step | None]] = [[None] * 16 for _ in places]
    for (bits, code), place in places.items():
        for nibble in range(16):
            made[place][nibble] = _walked(bits, code, nibble, places)
    ends = {places[bits, (1 << bits) - 1] for bits in range(_PADDING + 1)}
    return made, ends


def _walked(bits: int, code: int, nibble: int, places: dict[tuple[int, int], int]) -> Step | None:
    told = b""
    for shift in (3, 2, 1, 0):
        bits, code = bits + 1, code << 1 | nibble >> shift & 1
        byte = CODES.get((bits, code))
        if byte == _END:
            return None
        if byte is not None:
            told += bytes((byte,))
            bits = code = 0
    return places[bits, code], told


_STEPS, _ENDS = _steps()


def unpacked(data: bytes) -> bytes:
    """Text in Huffman code as it is; raises `HpackError`. Two table look-ups a byte."""
    made = []
    place = 0
    for byte in data:
        for nibble in (byte >> 4, byte & 15):
            step = _STEPS[place][nibble]
            if step is None:
                raise HpackError("a text holds the code of the end")
            place, told = step
            if told:
                made.append(told)
    if place not in _ENDS:
        raise HpackError("a text in Huffman code is not filled up with ones")
    return b"".join(made)
