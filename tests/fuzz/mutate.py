"""Seeded changes of good inputs: of bytes, of trees of values, and of how a tree is written."""

import json
import math
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

NAMES: Final = (
    "../x",
    "a.b",
    "*",
    ">",
    " ",
    "x\n",
    "n" * 300,
    "modèle",
    "模型",
    "\u202ex",
    "",
    "A",
    "-a",
    "_a",
    "x\0",
    "x y",
    "rows.*",
    "$JS",
    "%2e%2e",
    "a/b",
    "x\r\nPUB y 0",
)
"""Names of fault 39, and others that must not stand in a subject."""
TEXTS: Final = (
    *NAMES,
    "x" * 70_000,
    "é" * 200,
    "\ud800",
    "\x7f\x01",
    "true",
    "1e5",
    "NaN",
    "=1+1",
    "'; DROP TABLE scored --",
    "2024-13-45T99:00:00",
    "2024-01-01T00:00:00Z",
    "9" * 400,
)
NUMBERS: Final = (
    0,
    -1,
    1,
    -0.0,
    0.1,
    1e308,
    -1e308,
    5e-324,
    1e39,
    2**31 - 1,
    2**31,
    -(2**31) - 1,
    2**53 + 1,
    2**63 - 1,
    2**63,
    -(2**63),
    2**64,
    10**18,
    10**40,
    10**399,
    math.nan,
    math.inf,
    -math.inf,
)
EDGES: Final = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
KEPT_BYTES: Final = 200_000
"""A changed body is cut here: a large one is for the bounds, which have tests of their own."""


def value(random: Random, depth: int = 3) -> Any:
    """Any value that JSON has, and some that it has not."""
    kind = random.randrange(8 if depth else 5)
    if kind < 2:
        return random.choice(NUMBERS)
    if kind < 4:
        return random.choice(TEXTS)
    if kind == 4:
        return random.choice((None, True, False))
    if kind == 5:
        return [value(random, depth - 1) for _ in range(random.choice((0, 1, 2, 5)))]
    if kind == 6:
        return {text(random): value(random, depth - 1) for _ in range(random.choice((0, 1, 3)))}
    return nested(random.choice((1, 8, 60)), random.choice(("list", "map")))


def nested(depth: int, kind: str) -> Any:
    """Lists in lists, or objects in objects."""
    made: Any = 1
    for _ in range(depth):
        made = [made] if kind == "list" else {"a": made}
    return made


def text(random: Random) -> str:
    """A short text: an odd one, or a random one."""
    if random.random() < 0.5:
        return random.choice(TEXTS)[:300]
    return "".join(
        chr(random.choice((random.randrange(32, 127), random.randrange(0xD7FF))))
        for _ in range(random.randrange(1, 12))
    )


def tree(random: Random, good: Any, most: int = 4) -> Any:
    """`good` with one to `most` changes anywhere in it; `good` itself stays as it is."""
    made = copied(good)
    for _ in range(random.randint(1, most)):
        made = _changed(random, made)
    return made


def copied(good: Any) -> Any:
    """A copy as deep as the lists and objects go."""
    if isinstance(good, dict):
        return {key: copied(of) for key, of in good.items()}
    if isinstance(good, list | tuple):
        return [copied(of) for of in good]
    return good


def _changed(random: Random, made: Any) -> Any:
    holders = _holders(made)
    if not holders or random.random() < 0.03:
        return value(random)
    holder = random.choice(holders)
    if isinstance(holder, dict):
        _change_map(random, holder)
    else:
        _change_list(random, holder)
    return made


def _change_map(random: Random, holder: dict[Any, Any]) -> None:
    key = random.choice(list(holder))
    match random.randrange(7):
        case 0:
            del holder[key]
        case 1:
            holder[text(random)] = holder.pop(key)
        case 2:
            holder[text(random)] = value(random)
        case 3:
            holder[key] = [holder[key]]
        case 4:
            holder[key] = {str(key): holder[key]}
        case _:
            holder[key] = value(random)


def _change_list(random: Random, holder: list[Any]) -> None:
    at = random.randrange(len(holder))
    match random.randrange(6):
        case 0:
            del holder[at]
        case 1:
            holder[at:at] = [copied(holder[at])] * random.choice((1, 2, 50))
        case 2:
            random.shuffle(holder)
        case 3:
            holder[at] = [holder[at]]
        case _:
            holder[at] = value(random)


def _holders(made: Any) -> list[Any]:
    found: list[Any] = []
    left = [made]
    while left and len(found) < 2_000:
        at = left.pop()
        if isinstance(at, dict | list) and at:
            found.append(at)
            left += at.values() if isinstance(at, dict) else at
    return found


def written(random: Random, made: Any) -> bytes:
    """A tree as JSON; now and then as no JSON writer would write it."""
    quirk = random.randrange(24)
    twice = random.randrange(3) if quirk == 0 else -1
    text_ = _json(made, twice, plain=quirk != 1)
    data = text_.encode("utf-8", "surrogatepass")
    if quirk == 2:
        return b"\xef\xbb\xbf" + data
    if quirk == 3:
        return data.replace(b":", b" :\t\r\n ").replace(b",", b" , ")
    if quirk == 4:
        return data[:-1] + b"," + data[-1:]
    if quirk == 5:
        return data.decode("utf-8", "replace").encode("utf-16")
    if quirk == 6:
        at = random.randrange(len(data) + 1)
        return data[:at] + random.choice((b"[", b'{"a":')) * 100_000 + data[at:]
    if quirk == 7:
        return data + data
    if quirk == 8:
        return data.replace(
            b"1", random.choice((b"1e999", b"-", b"0x1", b"1.", b"01", b"9" * 5_000))
        )
    return data


def _json(made: Any, twice: int, *, plain: bool) -> str:
    """JSON of a tree; objects `twice` levels down have one of their keys twice."""
    if isinstance(made, dict):
        items = [
            f"{_json(str(key), -1, plain=plain)}:{_json(of, twice - 1, plain=plain)}"
            for key, of in made.items()
        ]
        if twice == 0:
            items += items[:1]
        return "{" + ",".join(items) + "}"
    if isinstance(made, list | tuple):
        return "[" + ",".join(_json(of, twice - 1, plain=plain) for of in made) + "]"
    if isinstance(made, bytes):
        made = made.decode("latin-1")
    if isinstance(made, int) and not isinstance(made, bool) and abs(made) > 10**300:
        return "9" * 400
    return json.dumps(made, ensure_ascii=plain)


def raw(random: Random, data: bytes, others: Sequence[bytes] = (), most: int = 5) -> bytes:
    """`data` with one to `most` changes of its bytes; `others` are what it is spliced with."""
    made = bytearray(data)
    for _ in range(random.randint(1, most)):
        random.choice(_BYTES)(random, made, others)
    return bytes(made[:KEPT_BYTES])


def _flip(random: Random, made: bytearray, _: Sequence[bytes]) -> None:
    if made:
        at = random.randrange(len(made))
        made[at] ^= 1 << random.randrange(8)


def _set(random: Random, made: bytearray, _: Sequence[bytes]) -> None:
    if made:
        made[random.randrange(len(made))] = random.choice((0, 1, 0x7F, 0x80, 0xFF, 0x22, 0x0A))


def _edge(random: Random, made: bytearray, _: Sequence[bytes]) -> None:
    """A number of two, four or eight bytes where one may stand, of either byte order."""
    form = random.choice(("<H", "<I", "<Q", ">I", "<i"))
    size = struct.calcsize(form)
    if len(made) < size:
        return
    at = random.randrange(len(made) - size + 1)
    at -= at % size if random.random() < 0.8 else 0
    number = random.choice(EDGES) & ((1 << (8 * size)) - 1)
    if random.random() < 0.3:
        number = (int.from_bytes(made[at : at + size], "little") + random.choice((1, -1, 8))) % (
            1 << (8 * size)
        )
    made[at : at + size] = number.to_bytes(size, "little" if form[0] == "<" else "big")


def _cut(random: Random, made: bytearray, _: Sequence[bytes]) -> None:
    del made[random.randrange(len(made) + 1) :]


def _remove(random: Random, made: bytearray, _: Sequence[bytes]) -> None:
    at = random.randrange(len(made) + 1)
    del made[at : at + random.choice((1, 2, 4, 8, 64))]


def _insert(random: Random, made: bytearray, _: Sequence[bytes]) -> None:
    at = random.randrange(len(made) + 1)
    made[at:at] = random.choice(
        (
            random.randbytes(random.randrange(1, 20)),
            b"\0" * 64,
            b"\xff" * 8,
            b"[" * 3_000,
            b"\x91" * 3_000,
            b"\r\n",
        )
    )


def _repeat(random: Random, made: bytearray, _: Sequence[bytes]) -> None:
    at = random.randrange(len(made) + 1)
    part = made[at : at + random.randrange(1, 65)]
    made[at:at] = part * random.choice((1, 2, 200))


def _splice(random: Random, made: bytearray, others: Sequence[bytes]) -> None:
    if others:
        other = random.choice(list(others))
        start = random.randrange(len(other) + 1)
        at = random.randrange(len(made) + 1)
        made[at : at + random.randrange(65)] = other[start : start + random.randrange(1, 257)]


_BYTES: Final[tuple[Callable[[Random, bytearray, Sequence[bytes]], None], ...]] = (
    _flip,
    _flip,
    _set,
    _edge,
    _edge,
    _cut,
    _remove,
    _insert,
    _repeat,
    _splice,
)
