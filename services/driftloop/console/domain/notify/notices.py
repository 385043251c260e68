"""One thing to tell: what happened, what the system did about it, what a person should do."""

from datetime import UTC, datetime

import msgspec

from driftloop.console.domain.notify.rules import BACK, OUT, TEST, Severity

LONGEST = 600
"""Characters of one text of a notice."""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A notice. `about` is what `quiet` goes by, empty if each is told; `at` in ISO 8601.

    `seq` is the event's place in EVENTS, 0 for what is no event. `page` is a route of the console,
    `guide` a page of docs/.
    """

    id: str
    kind: str
    severity: Severity
    at: str
    title: str
    happened: str
    did: str = ""
    todo: str = ""
    model: str = ""
    service: str = ""
    run: str = ""
    about: str = ""
    page: str = "#/"
    guide: str = ""
    seq: int = 0
    repeats: int = 0
    """How often the same was the case before, and was not told to keep quiet."""


def short(text: str) -> str:
    """A text of bounded length on one line."""
    flat = " ".join(text.split())
    return flat if len(flat) <= LONGEST else f"{flat[: LONGEST - 3]}..."


def iso(at: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def seconds(at: str) -> float:
    """ISO 8601 as seconds since 1970; 0 for what is none."""
    try:
        return datetime.fromisoformat(at).timestamp()
    except ValueError:
        return 0.0


def service_out(service: str, why: str, since: float, now: float) -> Notice:
    """A service that has been silent or not ready since a time (seconds since 1970)."""
    return Notice(
        id=f"{OUT}:{service}:{since:.0f}",
        kind=OUT,
        severity="critical",
        at=iso(now),
        title=f"{service} is out",
        happened=short(f"{service}: {why}, since {clock(since)} UTC."),
        did="What it works on stays in the log, and it goes on there when it is back."
        " Whoever watches its process starts it again (`driftloop up`, Docker, Kubernetes).",
        todo=f"Look at the logs of {service} and at `driftloop status`; start it if nobody does.",
        service=service,
        about=f"{OUT}:{service}",
        page="#/services",
        guide="how-to/recover.md",
    )


def service_back(service: str, since: float, now: float) -> Notice:
    """A service that was told to be out, and is ready again."""
    return Notice(
        id=f"{BACK}:{service}:{since:.0f}",
        kind=BACK,
        severity="critical",
        at=iso(now),
        title=f"{service} is back",
        happened=f"{service} is ready again after {max(0.0, now - since):.0f} s.",
        did="It goes on where it stopped: the log kept what came meanwhile.",
        todo="Nothing, unless it happens again.",
        service=service,
        page="#/services",
        guide="how-to/recover.md",
    )


def test(channel: str, now: float) -> Notice:
    """A notice that shows that a channel works."""
    return Notice(
        id=f"{TEST}:{channel}:{now:.3f}",
        kind=TEST,
        severity="info",
        at=iso(now),
        title=f"a test of the channel {channel}",
        happened="Somebody ran `driftloop notify test`. No model and no service is concerned.",
        did="It sent this message.",
        todo="Nothing: the channel works.",
        guide="how-to/notify.md",
    )


def clock(at: float) -> str:
    """Seconds since 1970 as a time of day in UTC, with the date."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"
