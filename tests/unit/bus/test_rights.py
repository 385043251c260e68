"""The rights at the broker: made from the contracts, and no more than each part needs."""

import inspect

import pytest

from driftloop.bus.rights import ADMIN, CLIENT, OPERATOR, PARTS, USERS, rights
from driftloop.contracts import requests, subjects
from driftloop.contracts.codec import EVENT_TYPES, STAT_TYPES
from driftloop.runtime.settings import SERVICES


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject is one of a pattern of NATS."""
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        return len(tokens) >= len(wanted) and _alike(wanted[:-1], tokens)
    return len(wanted) == len(tokens) and _alike(wanted, tokens)


def _alike(wanted: list[str], tokens: list[str]) -> bool:
    return all(w in ("*", t) for w, t in zip(wanted, tokens, strict=False))


def may_publish(user: str, subject: str) -> bool:
    its = rights(user)
    denied = any(matches(pattern, subject) for pattern in its.deny)
    return not denied and any(matches(pattern, subject) for pattern in its.publish)


def test_each_service_has_a_part_and_only_the_admin_is_without_bounds() -> None:
    assert set(PARTS) == {*SERVICES, OPERATOR, CLIENT}
    for user in USERS:
        wide = {">", "$JS.>", "$JS.API.>", "$KV.>", "events.>", "*.>"}
        assert (user == ADMIN) == bool(wide & {*rights(user).publish})


@pytest.mark.parametrize("event", EVENT_TYPES, ids=lambda event: event.kind)
def test_an_event_can_be_said_by_its_owner_alone(event: type) -> None:
    subject = subjects.event("flights", event.kind)  # type: ignore[attr-defined]  # they all have
    owner = event.owner  # type: ignore[attr-defined]  # as above
    assert owner in SERVICES
    assert [user for user in USERS if may_publish(user, subject)] == [owner, ADMIN]


def test_a_measurement_can_be_said_by_its_owner_or_about_oneself() -> None:
    for stat in STAT_TYPES:
        for user in SERVICES:
            subject = subjects.stats(stat.kind, "ingest" if stat.owner == "*" else "flights")
            expected = user == ("ingest" if stat.owner == "*" else stat.owner)
            assert may_publish(user, subject) == expected, (user, subject)


@pytest.mark.parametrize(
    ("subject", "users"),
    [
        (subjects.rows("m", "received"), ["ingest"]),
        (subjects.labels("m"), ["ingest"]),
        (subjects.rows("m", "valid"), ["validation"]),
        (subjects.rows("m", "quarantined"), ["validation"]),
        (subjects.scored("m"), ["inference"]),
        (subjects.outcomes("m"), ["feedback"]),
        ("$KV.MODELS.m", ["registry"]),
        ("$KV.SPECS.m", ["registry"]),
        ("$KV.TOKENS.m", ["registry"]),
        ("$KV.MONITORS.m", ["drift"]),
        ("$KV.OWNERS.feedback.lease.1.0", ["feedback"]),
        ("$KV.OWNERS.drift.lease.1.0", ["drift"]),
        ("$KV.OWNERS.console.lease.1.0", ["console"]),
        ("$KV.NOTICES.book", ["console"]),
        ("$O.ARTIFACTS.C.x", ["trainer"]),
        (requests.command("m"), ["console", OPERATOR]),
        (requests.send("m", "rows"), ["console", OPERATOR, CLIENT]),
        (requests.send("m", "labels"), ["console", OPERATOR, CLIENT]),
        (requests.infer("m"), [OPERATOR, CLIENT]),
        ("$JS.ACK.EVENTS.registry.1.2.3.4.5", ["registry"]),
        ("$JS.ACK.ROWS.validation-rows.1.2.3.4.5", ["validation"]),
        ("$JS.API.CONSUMER.MSG.NEXT.EVENTS.trainer", ["trainer"]),
        ("$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.registry", ["registry"]),
        ("$JS.API.CONSUMER.CREATE.EVENTS.registry", ["registry"]),
        ("$JS.API.CONSUMER.DELETE.EVENTS.registry", []),
        ("$JS.API.STREAM.CREATE.X", []),
        ("$JS.API.STREAM.UPDATE.EVENTS", []),
        ("$JS.API.STREAM.DELETE.EVENTS", []),
        ("$JS.API.STREAM.PURGE.EVENTS", []),
        ("$JS.API.STREAM.PURGE.OUTCOMES", []),
        ("$JS.API.STREAM.PURGE.ROWS", ["registry"]),
        ("$JS.API.CONSUMER.LIST.EVENTS", ["console"]),
        ("$JS.API.CONSUMER.LIST.ROWS", ["registry", "console"]),
        ("$JS.API.STREAM.MSG.DELETE.DEAD", ["registry"]),
        ("redeliver.validation-rows", ["registry"]),
        ("operate.dead.drop", ["console", OPERATOR]),
        ("operate.dead.replay", ["console", OPERATOR]),
        ("token.create", [OPERATOR]),
        ("$JS.API.STREAM.MSG.DELETE.EVENTS", []),
        ("$JS.API.STREAM.SNAPSHOT.EVENTS", []),
        ("$JS.API.STREAM.RESTORE.EVENTS", []),
        ("$JS.API.DIRECT.GET.SCORED", []),
        ("$JS.API.ACCOUNT.PURGE.X", []),
    ],
)
def test_a_subject_can_be_written_by_whoever_needs_it_and_by_nobody_else(
    subject: str, users: list[str]
) -> None:
    assert [user for user in USERS if may_publish(user, subject)] == [*users, ADMIN]


def test_nobody_hears_the_answers_of_another() -> None:
    for user in PARTS:
        heard = [
            other
            for other in PARTS
            if any(matches(p, f"_INBOX.{user}.x.1") for p in rights(other).subscribe)
        ]
        assert heard == [user]


def test_a_request_is_answered_by_its_owner_alone() -> None:
    source = inspect.getsource(requests)
    for subject in (
        requests.infer("m"),
        requests.command("m"),
        requests.send("m", "rows"),
        requests.QUERY_SQL,
    ):
        heard = [u for u in PARTS if any(matches(p, subject) for p in rights(u).subscribe)]
        assert len(heard) == 1
        assert f"Owner: {heard[0]}" in source
