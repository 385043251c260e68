"""Shapes of control events: the feed, a page back in time, and one event with its neighbours."""

from typing import Any

import msgspec

from driftloop.contracts.facts import Fact


class Events(msgspec.Struct, frozen=True, kw_only=True):
    """Events, newest first. `before` is the next page's `before=`, 0 where this is the last page.

    `source` is where they are from: `memory`, `log` or `telemetry`.
    """

    events: list[Fact]
    before: int
    source: str


class EventDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One event with the event that caused it, those it caused, and itself as it was sent."""

    fact: Fact
    cause: Fact | None
    effects: list[Fact]
    headers: dict[str, str]
    body: dict[str, Any]
