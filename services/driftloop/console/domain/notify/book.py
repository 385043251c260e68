"""The book of notifications: what waits, what is being sent, what was told; each step is pure.

One owner among the replicas of the console keeps it (see `console.notify.watch`). It is written
before a message is sent and after, so a process that takes over knows what to do.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from msgspec.structs import replace

from driftloop.console.domain.notify import notices
from driftloop.console.domain.notify.notices import Notice
from driftloop.console.domain.notify.rules import BACK, OUT, Rule, Rules
from driftloop.contracts.errors import Reject
from driftloop.modelspec import durations

MOST_WAITING: Final = 20
"""Notices of one message; further ones are counted in it."""
MOST_HELD: Final = 300
"""Notices of all lines together."""
MOST_SEEN: Final = 512
MOST_TOLD: Final = 1_000
MOST_FAILURES: Final = 20
ATTEMPTS: Final = 8
FIRST_SECONDS: Final = 2.0
LONGEST_SECONDS: Final = 300.0
OLD_SECONDS: Final = 86_400.0
"""What happened longer ago, while no console was there to tell it, is not told any more."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent at once; the same in every attempt. `more` were too many to be told one by one.

    A receiver can know one that comes twice by its `id`.
    """

    id: str
    rule: str
    notices: tuple[Notice, ...]
    more: int = 0
    attempts: int = 0
    next_at: float = 0.0


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What goes from one rule to one channel; `first` is when the oldest that waits came."""

    waiting: tuple[Notice, ...] = ()
    more: int = 0
    first: float = 0.0
    last: float = 0.0
    message: Message | None = None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was given up: when, for which channel, why, and what it said."""

    at: float
    channel: str
    error: str
    title: str
    notices: int


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """When something was told last, and how often it was kept quiet since."""

    at: float
    kept: int = 0


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """A service that is out, by when it was heard or ready last."""

    since: float
    why: str


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """All of it; `seq` is the last event of EVENTS that is in it. Lines by rule and channel."""

    seq: int = 0
    lines: dict[str, Line] = {}
    told: dict[str, Told] = {}
    seen: tuple[str, ...] = ()
    outages: dict[str, Outage] = {}
    failures: tuple[Failure, ...] = ()
    sent: int = 0
    failed: int = 0


Count = Callable[[str], object]
"""Counts what is not told, by reason: `repeated`, `old`, `silenced`, `quiet` or `many`."""


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Book)


def key(rule: str, channel: str) -> str:
    """The name of a line."""
    return f"{rule}\n{channel}"


def parts(line: str) -> tuple[str, str]:
    """Rule and channel of a line."""
    rule, _, channel = line.partition("\n")
    return rule, channel


def tell(book: Book, rules: Rules, one: Notice, now: float, count: Count) -> Book:
    """The book with one more notice in the lines it goes to."""
    if one.id in book.seen:
        count("repeated")
        return book
    lines = rules.lines(one.kind, one.severity, one.model, one.service)
    if lines and now - notices.seconds(one.at) > OLD_SECONDS:
        count("old")
        return book
    if lines:
        book = replace(book, seen=(*book.seen, one.id)[-MOST_SEEN:])
    for at, channel in lines:
        book = _tell(book, rules.rules[at], channel, one, now, count)
    return book


def _tell(book: Book, rule: Rule, channel: str, one: Notice, now: float, count: Count) -> Book:
    name = key(rule.name, channel)
    line = book.lines.get(name, Line())
    if one.kind == BACK and (blip := _blip(line, one.service)) is not None:
        return _with(book, name, blip)
    if one.about and one.kind not in (OUT, BACK):
        about, at = f"{name}\n{one.about}", notices.seconds(one.at)
        before = book.told.get(about)
        if before is not None and at - before.at < durations.seconds(rule.quiet):
            count("quiet")
            kept = replace(before, kept=before.kept + 1)
            return replace(book, told={**book.told, about: kept})
        one = replace(one, repeats=before.kept if before else 0)
        book = replace(book, told=_told({**book.told, about: Told(at=at)}))
    if len(line.waiting) >= MOST_WAITING or held(book) >= MOST_HELD:
        count("many")
        return _with(book, name, replace(line, more=line.more + 1))
    waiting = (*line.waiting, one)
    return _with(book, name, replace(line, waiting=waiting, first=line.first or now))


def _blip(line: Line, service: str) -> Line | None:
    """The line without the outage of a service, if that was not told yet."""
    left = tuple(n for n in line.waiting if (n.kind, n.service) != (OUT, service))
    if len(left) == len(line.waiting):
        return None
    return replace(line, waiting=left, first=line.first if left or line.more else 0.0)


def _told(told: dict[str, Told]) -> dict[str, Told]:
    """The newest of what was told, as many as are kept."""
    if len(told) <= MOST_TOLD:
        return told
    newest = sorted(told.items(), key=lambda item: item[1].at)[-MOST_TOLD:]
    return dict(newest)


def answered(book: Book, about: str, did: str) -> Book:
    """The book with what the system did about an event, where that still waits."""
    lines = {}
    for name, line in book.lines.items():
        waiting = tuple(replace(n, did=did) if n.id == about else n for n in line.waiting)
        lines[name] = replace(line, waiting=waiting) if waiting != line.waiting else line
    return replace(book, lines=lines) if lines != book.lines else book


def due(book: Book, rules: Rules, now: float) -> list[str]:
    """The lines that have something to send now."""
    of = {rule.name: rule for rule in rules.rules}
    return [name for name, line in book.lines.items() if _due(line, of.get(parts(name)[0]), now)]


def _due(line: Line, rule: Rule | None, now: float) -> bool:
    if rule is None:
        return False
    if line.message is not None:
        return now >= line.message.next_at
    if not line.waiting:  # with more than can be held, that of others goes first
        return False
    gathered = line.first + durations.seconds(rule.group)
    return now >= max(gathered, line.last + durations.seconds(rule.interval))


def attempt(book: Book, name: str) -> tuple[Book, Message]:
    """The book at the beginning of an attempt, and the message to send."""
    line = book.lines[name]
    rule, channel = parts(name)
    message = line.message
    if message is None:
        said = "\n".join((channel, *(one.id for one in line.waiting)))
        identity = hashlib.sha256(said.encode()).hexdigest()[:32]
        message = Message(id=identity, rule=rule, notices=line.waiting, more=line.more)
        line = replace(line, waiting=(), more=0, first=0.0)
    message = replace(message, attempts=message.attempts + 1)
    return _with(book, name, replace(line, message=message)), message


def sent(book: Book, name: str, now: float) -> Book:
    """The book after the message of a line has been taken by its receiver."""
    line = replace(book.lines[name], message=None, last=now)
    return replace(_with(book, name, line), sent=book.sent + 1)


def failed(book: Book, name: str, now: float, error: str, wait: float = 0.0) -> tuple[Book, bool]:
    """The book after an attempt failed, and whether the message is given up.

    `wait` is what the receiver asks for (seconds).
    """
    line = book.lines[name]
    message = line.message
    if message is None:
        return book, False
    if message.attempts < ATTEMPTS:
        delay = min(LONGEST_SECONDS, max(wait, FIRST_SECONDS * 2.0 ** (message.attempts - 1)))
        later = replace(line, message=replace(message, next_at=now + delay))
        return _with(book, name, later), False
    what = Failure(
        at=now,
        channel=parts(name)[1],
        error=error,
        title=message.notices[0].title,
        notices=len(message.notices) + message.more,
    )
    book = _with(book, name, replace(line, message=None, last=now))
    failures = (*book.failures, what)[-MOST_FAILURES:]
    return replace(book, failures=failures, failed=book.failed + 1), True


def kept(book: Book, rules: Rules) -> Book:
    """The book without the lines that the rule file has no more."""
    names = {key(rule.name, channel) for rule in rules.rules for channel in rule.channels}
    return replace(book, lines={n: line for n, line in book.lines.items() if n in names})


def held(book: Book) -> int:
    """Notices that wait or are being sent."""
    return sum(
        len(line.waiting) + (len(line.message.notices) if line.message else 0)
        for line in book.lines.values()
    )


def latest(failures: Iterable[Failure], since: float) -> Failure | None:
    """The newest failure since a time."""
    return next((one for one in reversed([*failures]) if one.at >= since), None)


def encode(book: Book) -> bytes:
    """The book as it is kept."""
    return zlib.compress(_ENCODER.encode(book))


def decode(kept: bytes | None) -> Book | None:
    """The book in a value; raises `Reject` when it cannot be read."""
    if kept is None:
        return None
    try:
        return _DECODER.decode(zlib.decompress(kept))
    except (zlib.error, msgspec.DecodeError) as error:
        raise Reject(f"notifications: the book cannot be read ({error})") from error


def _with(book: Book, name: str, line: Line) -> Book:
    return replace(book, lines={**book.lines, name: line})
