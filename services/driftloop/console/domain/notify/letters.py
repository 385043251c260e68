"""A message as its receivers read it: plain text, Slack's blocks, and our JSON."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from driftloop.console.domain.notify.book import Message
from driftloop.console.domain.notify.notices import Notice
from driftloop.console.domain.notify.rules import SEVERITIES

SIGNS: Final = {"info": ":information_source:", "warning": ":warning:", "critical": ":red_circle:"}
MOST_SLACK: Final = 2_900
"""Characters of one block: Slack takes 3,000. https://docs.slack.dev/reference/block-kit/blocks"""
MOST_HEADER: Final = 150


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where the console and the pages of docs/ are; without an address a page is named alone."""

    console: str = ""
    docs: str = ""

    def page(self, one: Notice) -> str:
        """The page of the console about a notice; empty if the address is not set."""
        return f"{self.console.rstrip('/')}/{one.page}" if self.console else ""

    def guide(self, one: Notice) -> str:
        """The page of the documentation about a notice."""
        if not one.guide:
            return ""
        return f"{self.docs.rstrip('/')}/{one.guide}" if self.docs else f"docs/{one.guide}"


def severity(message: Message) -> str:
    """The gravest of a message."""
    return max((one.severity for one in message.notices), key=SEVERITIES.index)


def subject(message: Message) -> str:
    """The message in one line."""
    first, others = message.notices[0], len(message.notices) - 1 + message.more
    more = f", and {others} more" if others else ""
    return f"[driftloop] {severity(message)}: {first.title}{more}"


def text(message: Message, places: Places) -> str:
    """The message for a person, as plain text."""
    lines: list[str] = []
    for one in message.notices:
        lines += [f"{one.title.upper() if len(message.notices) > 1 else one.title}", ""]
        lines += [*_lines(one, places), ""]
    if message.more:
        lines += [f"And {message.more} more that are not told one by one: see the console.", ""]
    lines.append(f"Rule: {message.rule}. Message: {message.id}.")
    return "\n".join(lines)


def _lines(one: Notice, places: Places) -> Iterator[str]:
    yield f"When: {one.at} ({one.kind}, {one.severity})"
    yield f"What happened: {one.happened}"
    if one.did:
        yield f"What the system did: {one.did}"
    yield f"What you should do: {one.todo}"
    if one.repeats:
        yield f"The same was the case {one.repeats} more times before, and not told."
    if places.page(one):
        yield f"Console: {places.page(one)}"
    if places.guide(one):
        yield f"How to: {places.guide(one)}"


def slack(message: Message, places: Places) -> dict[str, Any]:
    """The message for an incoming webhook of Slack, or of what takes the same JSON."""
    blocks: list[dict[str, Any]] = [
        {
            "type": "header",
            "text": {"type": "plain_text", "text": subject(message)[:MOST_HEADER], "emoji": False},
        }
    ]
    for one in message.notices:
        blocks.append({"type": "section", "text": _marked(_slack_lines(one, places))})
    if message.more:
        rest = f"And {message.more} more that are not told one by one: see the console."
        blocks.append({"type": "section", "text": _marked([rest])})
    footer = f"rule {_escaped(message.rule)}, message {message.id}"
    blocks.append({"type": "context", "elements": [_marked([footer])]})
    return {"text": _escaped(subject(message)), "blocks": blocks}


def _slack_lines(one: Notice, places: Places) -> list[str]:
    lines = [f"{SIGNS[one.severity]} *{_escaped(one.title)}*", _escaped(one.happened)]
    if one.did:
        lines.append(f"*What the system did:* {_escaped(one.did)}")
    lines.append(f"*What you should do:* {_escaped(one.todo)}")
    if one.repeats:
        lines.append(f"The same was the case {one.repeats} more times before, and not told.")
    links = [f"<{places.page(one)}|Console>"] if places.page(one) else []
    guide = places.guide(one)
    if guide:
        links.append(f"<{guide}|How to>" if "://" in guide else f"`{guide}`")
    return [*lines, " · ".join([*links, one.at])]


def _marked(lines: list[str]) -> dict[str, str]:
    return {"type": "mrkdwn", "text": "\n".join(lines)[:MOST_SLACK]}


def _escaped(told: str) -> str:
    """What Slack reads as its own marks: https://docs.slack.dev/messaging/formatting-message-text"""
    return told.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def document(message: Message, places: Places, events: dict[int, Any]) -> dict[str, Any]:
    """The message for a program; `events` are the control events themselves, by sequence."""
    return {
        "id": message.id,
        "rule": message.rule,
        "severity": severity(message),
        "title": subject(message),
        "more": message.more,
        "notices": [_document(one, places, events) for one in message.notices],
    }


def _document(one: Notice, places: Places, events: dict[int, Any]) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.to_builtins(one)
    for field in ("page", "guide", "about"):
        del made[field]
    made["console"], made["how_to"] = places.page(one), places.guide(one)
    made["event"] = events.get(one.seq) if one.seq else None
    return made
