"""The rule file: checked as a whole, every problem with field, value and what is accepted."""

import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

import msgspec

from driftloop.console.domain.notify import channels as ch
from driftloop.console.domain.notify.channels import Channel, Problem
from driftloop.contracts.codec import EVENT_TYPES, kinds
from driftloop.contracts.errors import InvalidInput
from driftloop.modelspec import durations

Severity = Literal["info", "warning", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "critical")
OUT: Final = "service.out"
BACK: Final = "service.back"
TEST: Final = "test"
KNOWN: Final = (*kinds(EVENT_TYPES), OUT, BACK)
"""What a rule can be about: each kind of control event, and services that fall silent."""
MOST: Final = 32
"""Channels, and rules."""
SHORTEST: Final = 5.0
"""Seconds: a service says something every `DRIFTLOOP_STATS_SECONDS`, which is two."""
_TABLES: Final = ("outage_after", "channels", "rules")


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which facts go to which channels.

    `kinds`, `models` and `services` are names or patterns with `*`; `severity` is the least. A rule
    that names models is not told of services, nor the other way round. What is about the same thing
    is told again after `quiet` at the earliest. The first fact of a message waits `group` for
    others, and messages of one rule to one channel are `interval` apart.
    """

    name: str
    channels: tuple[str, ...]
    kinds: tuple[str, ...] = ("*",)
    models: tuple[str, ...] = ("*",)
    services: tuple[str, ...] = ("*",)
    severity: Severity = "warning"
    quiet: str = "30m"
    group: str = "10s"
    interval: str = "1m"

    def takes(self, kind: str, severity: Severity, model: str, service: str) -> bool:
        """Whether a fact is the rule's. A service that is back is told to whom it was out."""
        wanted = {kind, OUT} if kind == BACK else {kind}
        return (
            any(_like(self.kinds, one) for one in wanted)
            and SEVERITIES.index(severity) >= SEVERITIES.index(self.severity)
            and _like(self.models, model)
            and _like(self.services, service)
        )


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """A checked rule file; a service is out when it is silent or not ready for `outage_after`."""

    channels: tuple[Channel, ...]
    rules: tuple[Rule, ...]
    outage_after: str = "1m"

    def channel(self, name: str) -> Channel:
        """The channel of this name."""
        return next(one for one in self.channels if one.name == name)

    def lines(
        self, kind: str, severity: Severity, model: str, service: str
    ) -> list[tuple[int, str]]:
        """Rule (its index) and channel for a fact: each channel once, by the first rule with it."""
        found: dict[str, int] = {}
        for at, rule in enumerate(self.rules):
            if rule.takes(kind, severity, model, service):
                for name in rule.channels:
                    found.setdefault(name, at)
        return [(at, name) for name, at in found.items()]


def parse(text: str) -> Rules:
    """The rules in a TOML text; raises `InvalidInput` with one line a problem."""
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"rules: {error}; accepted: a TOML document") from error
    problems: list[str] = []
    for name in raw.keys() - {*_TABLES}:
        problems.append(f"{name}: unknown field; accepted: {', '.join(_TABLES)}")
    channels = _converted(raw, "channels", _channel, problems)
    rules = _converted(raw, "rules", _rule, problems)
    outage_after = raw.get("outage_after", "1m")
    wrong = [*_channels(channels), *_rules(rules, raw), *_outage(outage_after)]
    problems += [
        f"{field}: {value!r} {what}; accepted: {good}" for field, value, what, good in wrong
    ]
    if problems:
        raise InvalidInput("\n".join(problems))
    return Rules(
        channels=tuple(one for _, one in channels),
        rules=tuple(one for _, one in rules),
        outage_after=outage_after,
    )


def _converted(
    raw: dict[str, Any], table: str, make: Any, problems: list[str]
) -> list[tuple[str, Any]]:
    """Each entry of a table of the file with its place; entries of another structure are told."""
    entries = raw.get(table, [])
    if not isinstance(entries, list) or not 0 < len(entries) <= MOST:
        many = len(entries) if isinstance(entries, list) else entries
        problems.append(f"{table}: {many!r} found; accepted: 1 to {MOST} [[{table}]]")
        return []
    found = []
    for at, entry in enumerate(entries):
        where = f"{table}[{at}]"
        try:
            found.append((where, make(where, entry)))
        except InvalidInput as error:
            problems.append(str(error))
    return found


def _channel(where: str, entry: Any) -> Channel:
    kind = entry.get("kind", "") if isinstance(entry, dict) else ""
    if kind not in ch.KINDS:
        raise InvalidInput(f"{where}.kind: {kind!r} is no channel; accepted: {', '.join(ch.KINDS)}")
    made: Channel = _struct(where, entry, ch.KINDS[kind])
    return made


def _rule(where: str, entry: Any) -> Rule:
    made: Rule = _struct(where, entry, Rule)
    return made


def _struct(where: str, entry: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(entry, kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at ")
        found = re.search(r"\$\.?(.*)`\Z", path)
        field = f"{where}.{found[1]}" if found and found[1] else where
        accepted = ", ".join(kind.__struct_fields__)
        raise InvalidInput(f"{field}: {text}; accepted: {accepted}") from error


def _channels(found: list[tuple[str, Channel]]) -> Iterator[Problem]:
    seen: set[str] = set()
    for where, channel in found:
        yield from _name(where, channel.name, seen)
        yield from ch.problems(where, channel)


def _rules(found: list[tuple[str, Rule]], raw: dict[str, Any]) -> Iterator[Problem]:
    known = [str(c["name"]) for c in _dicts(raw.get("channels")) if "name" in c]
    seen: set[str] = set()
    for where, rule in found:
        yield from _name(where, rule.name, seen)
        if not rule.channels:
            yield f"{where}.channels", [], "is empty", ", ".join(known)
        for name in rule.channels:
            if name not in known:
                yield f"{where}.channels", name, "is no channel", ", ".join(known)
        for kind in rule.kinds:
            if not any(fnmatchcase(one, kind) for one in KNOWN):
                yield (
                    f"{where}.kinds",
                    kind,
                    "is no kind of event",
                    f"{', '.join(KNOWN)}, or with *",
                )
        for field in ("kinds", "models", "services"):
            if not all(getattr(rule, field)) or not getattr(rule, field):
                yield f"{where}.{field}", [*getattr(rule, field)], "names nothing", "names, or '*'"
        for field in ("quiet", "group", "interval"):
            yield from _duration(f"{where}.{field}", getattr(rule, field))


def _outage(text: object) -> Iterator[Problem]:
    wrong = list(_duration("outage_after", text))
    yield from wrong
    if not wrong and durations.seconds(str(text)) < SHORTEST:
        yield "outage_after", text, "is too short", f"{SHORTEST:g}s or longer"


def _duration(field: str, text: object) -> Iterator[Problem]:
    try:
        durations.seconds(text if isinstance(text, str) else "")
    except ValueError:
        yield field, text, "is not a duration", durations.ACCEPTED


def _name(where: str, name: str, seen: set[str]) -> Iterator[Problem]:
    if not name or not name.isprintable() or len(name) > 64:
        yield f"{where}.name", name, "is not a name", "1 to 64 characters"
    elif name in seen:
        yield f"{where}.name", name, "is there twice", "a name no other has"
    seen.add(name)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _like(patterns: tuple[str, ...], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
