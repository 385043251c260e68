"""Dead letters, as the log has them now."""

from collections import Counter, deque
from typing import Final, NamedTuple

import msgspec

from driftloop.bus.letters import Letter, letter, letters, message_of, original
from driftloop.bus.messages import Delivered
from driftloop.console.api.shapes import DeadLetter, DeadLetterBody, DeadList
from driftloop.console.domain.times import iso
from driftloop.console.hub import Models
from driftloop.console.queries.past import Past
from driftloop.contracts import headers
from driftloop.contracts.errors import DriftloopError, InvalidInput
from driftloop.runtime.problems import NotFound

MOST: Final = 1_000
"""Letters that are listed, the newest; all are counted."""
SHOWN_ROWS: Final = 10
SHOWN_BYTES: Final = 2_000


class Dead(NamedTuple):
    """The newest letters, oldest first, and how many there are of each model."""

    newest: list[Letter]
    counts: Counter[str]


async def dead_letters(past: Past) -> Dead:
    """The letters there are now; payloads are not read."""
    return await past.cache.get("dead letters", lambda: _read(past))


async def _read(past: Past) -> Dead:
    newest: deque[Letter] = deque(maxlen=MOST)
    counts: Counter[str] = Counter()
    async for one in letters(past.bus):
        newest.append(one)
        counts[one.model] += 1
    return Dead(list(newest), counts)


async def listed(past: Past, models: Models, model: str, limit: int) -> DeadList:
    """The newest letters that the caller may see, of one model or of all ("")."""
    found = await dead_letters(past)

    def seen(name: str) -> bool:
        return (models is None or name in models) and model in ("", name)

    mine = [shape(one) for one in reversed(found.newest) if seen(one.model)]
    total = sum(n for name, n in found.counts.items() if seen(name))
    return DeadList(total=total, letters=mine[:limit])


async def shown(past: Past, seq: int, models: Models) -> DeadLetterBody:
    """One letter; raises `NotFound` if there is none that the caller may see."""
    try:
        found = await message_of(past.bus, seq)
    except InvalidInput as error:
        raise NotFound(str(error)) from error
    about = letter(found)
    if models is not None and about.model not in models:
        raise NotFound(f"letter: {seq} is no dead letter; accepted: one of /api/data/dead")
    return DeadLetterBody(letter=shape(about), headers=dict(found.headers), text=readable(found))


def shape(one: Letter) -> DeadLetter:
    """A letter as the API says it."""
    return DeadLetter(
        seq=one.seq,
        time=iso(one.at),
        service=one.service,
        model=one.model,
        position=one.position,
        subject=one.subject,
        error=one.reason,
        bytes=one.payload_bytes,
    )


def readable(found: Delivered) -> str:
    """What of a letter's payload a person can read: rows, an event, or the first bytes."""
    try:
        if found.headers.get("content-type") == headers.ARROW:
            batch = found.batch()
            head = f"{batch.num_rows:,} rows of {batch.num_columns} columns"
            return "\n".join([head, *map(_line, batch.slice(0, SHOWN_ROWS).to_pylist())])
        if original(found).stream == "EVENTS":
            return _line(msgspec.to_builtins(found.event()))
    except DriftloopError as error:
        return f"unreadable ({error})\n{found.payload[:SHOWN_BYTES]!r}"
    return repr(found.payload[:SHOWN_BYTES])


def _line(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()
