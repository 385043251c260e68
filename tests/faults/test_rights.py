"""What the broker refuses, whatever the code of a service does."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from nats.js import api

from driftloop.bus import identity
from driftloop.bus.bus import Bus
from driftloop.bus.messages import Outgoing, event_message
from driftloop.bus.publish import publish_all
from driftloop.bus.rights import ADMIN, CLIENT, OPERATOR, USERS
from driftloop.client import Client, NotSent
from driftloop.contracts import requests, subjects
from driftloop.contracts.codec import EVENT_TYPES
from driftloop.contracts.errors import Retry
from driftloop.contracts.events import ModelPromoted
from driftloop.contracts.headers import MSG_ID, Origin
from driftloop.contracts.requests import Command
from driftloop.contracts.state import ModelState
from driftloop.runtime.settings import SERVICES
from tests.support.faults import Record
from tests.support.secured import Secured, broker, refusal

__all__ = ["broker"]

MODEL = "flights"
DENIED_SECONDS = 2.0
"""How long a refusal may take: it is told beside the answers."""
PRIVILEGED: dict[str, tuple[str, ...]] = {
    **{subjects.event(MODEL, event.kind): (event.owner,) for event in EVENT_TYPES},
    f"$KV.MODELS.{MODEL}": ("registry",),
    f"$KV.SPECS.{MODEL}": ("registry",),
    "$KV.TOKENS.somebody": ("registry",),
    f"$KV.MONITORS.{MODEL}": ("drift",),
    "$KV.OWNERS.feedback.lease.1.0": ("feedback",),
    "$KV.OWNERS.drift.lease.1.0": ("drift",),
    "$KV.OWNERS.console.lease.1.0": ("console",),
    "$KV.NOTICES.book": ("console",),
    subjects.chain(MODEL): ("registry",),
    "$O.ARTIFACTS.C.chunk": ("trainer",),
    "$O.ARTIFACTS.M.name": ("trainer",),
    subjects.rows(MODEL, "received"): ("ingest",),
    subjects.labels(MODEL): ("ingest",),
    subjects.rows(MODEL, "valid"): ("validation",),
    subjects.rows(MODEL, "quarantined"): ("validation",),
    subjects.scored(MODEL): ("inference",),
    subjects.outcomes(MODEL): ("feedback",),
    requests.command(MODEL): ("console", OPERATOR),
    "token.create": (OPERATOR,),
    "operate.dead.drop": ("console", OPERATOR),
    "$JS.ACK.EVENTS.registry.1.1.1.1.1": ("registry",),
    "$JS.ACK.ROWS.validation-rows.1.1.1.1.1": ("validation",),
    "$JS.ACK.EVENTS.telemetry-events.1.1.1.1.1": ("telemetry",),
    "$JS.API.CONSUMER.MSG.NEXT.EVENTS.registry": ("registry",),
    "$JS.API.CONSUMER.CREATE.EVENTS.registry": ("registry",),
    "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.registry": ("registry",),
    "$JS.API.CONSUMER.DELETE.EVENTS.registry": (),
    "$JS.API.STREAM.CREATE.EXTRA": (),
    "$JS.API.STREAM.UPDATE.EVENTS": (),
    "$JS.API.STREAM.PURGE.EVENTS": (),
    "$JS.API.STREAM.PURGE.ROWS": ("registry",),
    "$JS.API.STREAM.MSG.DELETE.DEAD": ("registry",),
    "redeliver.validation-rows": ("registry",),
    "$JS.API.STREAM.DELETE.EVENTS": (),
    "$JS.API.STREAM.MSG.DELETE.EVENTS": (),
    "$JS.API.STREAM.SNAPSHOT.EVENTS": (),
    "$JS.API.STREAM.RESTORE.EVENTS": (),
    "$JS.API.DIRECT.GET.SCORED": (),
}
"""Subjects and who may publish there, beside the admin."""
LETTERS = {user: user[:3] for user in USERS}


async def denied(bus: Bus, subject: str) -> bool:
    """Whether the broker refuses a publish."""
    before = bus.connection.denials
    # With a condition that never holds, so that what is let through is not stored.
    headers = {"Nats-Expected-Last-Sequence": "999999999"}
    await bus.connection.nc.publish(subject, b"not from here", headers=headers)
    return await told(bus, before)


async def told(bus: Bus, before: int) -> bool:
    """Whether the broker says within a while that it has denied something."""
    await bus.connection.nc.flush()
    with contextlib.suppress(AssertionError):
        await _until(lambda: bus.connection.denials > before, DENIED_SECONDS)
    return bus.connection.denials > before


@pytest.mark.fault(41, "every privileged subject with the credentials of everybody else")
async def test_each_privileged_subject_is_refused_to_everybody_else(
    broker: Secured, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    found: dict[str, dict[str, bool]] = {subject: {} for subject in PRIVILEGED}
    users = [user for user in USERS if user != ADMIN]
    for user in users:
        async with broker.user(user) as bus:
            for subject, allowed in PRIVILEGED.items():
                if user not in allowed:  # who may, does not break what it owns
                    found[subject][user] = await denied(bus, subject)

    with capsys.disabled():
        print(f"\n{'subject':48}", *(LETTERS[user] for user in users))  # noqa: T201  # the matrix
        for subject, of in found.items():
            marks = ("yes" if u not in of else " - " if of[u] else "!!!" for u in users)
            print(f"{subject:48}", *marks)  # noqa: T201  # as above
    let_through = [(s, u) for s, of in found.items() for u, refused in of.items() if not refused]
    assert let_through == []
    record(injections=len(PRIVILEGED), refused=sum(len(of) for of in found.values()))


@pytest.mark.fault(40, "a connection without credentials, or with a key that nobody knows")
async def test_without_a_known_key_nobody_gets_in(
    broker: Secured, record: Record, tmp_path: Path
) -> None:
    url = broker.server.url
    identity.make(tmp_path / "elsewhere", USERS)
    for key in ("", tmp_path / "elsewhere" / "registry.nk"):
        assert "Authorization Violation" in await refusal(url, key)
    record(injections=2, refused=2)


@pytest.mark.fault(44, "acknowledge, purge, delete and take what is another's")
async def test_what_is_anothers_is_not_acknowledged_deleted_or_purged(
    broker: Secured, record: Record
) -> None:
    config = api.ConsumerConfig(
        durable_name="registry", filter_subjects=["events.*.*.*"], ack_wait=30.0
    )
    async with broker.user("registry") as registry, broker.user("feedback") as evil:
        await registry.connection.js.add_consumer("EVENTS", config)
        await say(registry, "run-1")
        pull = await registry.connection.js.pull_subscribe_bind("registry", "EVENTS")
        (message,) = await pull.fetch(1, timeout=5.0)
        for subject, payload in (
            (message.reply, b"+ACK"),
            ("$JS.API.CONSUMER.DELETE.EVENTS.registry", b""),
            ("$JS.API.STREAM.PURGE.EVENTS", b""),
            ("$JS.API.STREAM.MSG.DELETE.EVENTS", b'{"seq":1}'),
            ("$JS.API.CONSUMER.MSG.NEXT.EVENTS.registry", b'{"batch":1,"expires":100000000}'),
        ):
            before = evil.connection.denials
            await evil.connection.nc.publish(subject, payload, reply=evil.connection.nc.new_inbox())
            assert await told(evil, before), subject
        info = await registry.connection.js.consumer_info("EVENTS", "registry")
        assert info.num_ack_pending == 1
        assert await registry.log.last_seq("EVENTS") == 1
        await message.ack_sync()
    record(injections=5, refused=5)


@pytest.mark.fault(44, "an answer of the broker as a way round: its reply under a foreign subject")
async def test_an_answer_of_the_broker_puts_nothing_of_ones_choice_under_a_foreign_subject(
    broker: Secured, record: Record
) -> None:
    """JetStream answers wherever a request says; what comes there must be nobody's to choose."""
    forged = msgspec.msgpack.encode(ModelState(model=MODEL, champion=9))
    async with broker.user("inference") as inference, broker.user("feedback") as evil:
        stored = Outgoing(subject=subjects.scored(MODEL), payload=forged, headers={MSG_ID: "1"})
        await publish_all(inference.connection, [stored])
        nc, js = evil.connection.nc, evil.connection.js
        await js.add_consumer(
            "SCORED", api.ConsumerConfig(name="own", ack_policy=api.AckPolicy.NONE)
        )
        target = f"$KV.MODELS.{MODEL}"
        push = api.ConsumerConfig(
            name="push", ack_policy=api.AckPolicy.NONE, deliver_subject=target
        )
        await js.add_consumer("SCORED", push)
        await nc.publish("$JS.API.STREAM.MSG.GET.SCORED", b'{"seq":1}', reply=target)
        await nc.publish("$JS.API.DIRECT.GET.SCORED", b'{"seq":1}', reply=target)
        pull = b'{"batch":1,"expires":100000000}'
        await nc.publish("$JS.API.CONSUMER.MSG.NEXT.SCORED.own", pull, reply=target)
        await nc.flush()
        async with broker.user("validation") as reader:
            # What did arrive there is no value that the registry has signed.
            assert (await reader.models.read(MODEL)).value is None
            assert reader.connection.forged > 0
    record(injections=4, refused=4)


@pytest.mark.fault(43, "a forged event of the right form, and one with another's signature")
async def test_an_event_that_its_owner_did_not_sign_is_not_acted_on(
    broker: Secured, record: Record
) -> None:
    acted: list[str] = []

    async def promoted(event: ModelPromoted, _: Origin) -> tuple[()]:
        acted.append(event.run)
        return ()

    async with (
        broker.user(ADMIN) as admin,
        broker.user("registry") as registry,
        broker.user("trainer") as trainer,
    ):
        await trainer.control({ModelPromoted: promoted})
        await trainer.start()
        await say(admin, "run-of-the-admin")
        unsigned = _promoted("run-without-a-signature")
        await admin.connection.js.publish(
            unsigned.subject, unsigned.payload, headers=unsigned.headers
        )
        await say(registry, "run-of-the-registry")
        await _until(lambda: bool(acted))
        assert acted == ["run-of-the-registry"]
        assert trainer.connection.forged == 2
        letters = await admin.log.messages("DEAD", "dead.trainer.*")
        assert letters == 2
    record(injections=2, refused=2)


@pytest.mark.fault(41, "a service that publishes what it may not is not ready, and says why")
async def test_a_denied_publish_makes_a_service_unready(broker: Secured) -> None:
    async with broker.user("inference") as inference:
        assert inference.connection.problem() == ""
        assert await denied(inference, subjects.event(MODEL, "model.promoted"))
        assert "permissions violation for publish" in inference.connection.problem().lower()
        assert "model.promoted" in inference.connection.problem()


async def test_an_operator_asks_and_only_asks(broker: Secured) -> None:
    """Who has the operator's key moves models by asking the registry, which writes it down."""
    async with broker.user(OPERATOR) as operator:
        assert await denied(operator, subjects.event(MODEL, "model.promoted"))
        assert await denied(operator, f"$KV.MODELS.{MODEL}")
        command = msgspec.msgpack.encode(Command(command="promote", by="ann", version=1))
        with pytest.raises(Retry, match="no service answers"):
            await operator.ask(requests.command(MODEL), command, timeout=1.0)


async def test_clients_send_and_ask_and_read_no_log(broker: Secured) -> None:
    async with broker.user(CLIENT) as client:
        for subject in ("$JS.API.STREAM.INFO.EVENTS", "$JS.API.CONSUMER.CREATE.ROWS.x"):
            assert await denied(client, subject)
    key = f"{broker.keys}/{CLIENT}.nk"
    async with Client(broker.server.url, key=key, timeout=0.5, deadline=0.5) as caller:
        with pytest.raises(NotSent, match="no service answers"):
            await caller.predict(MODEL, [{"x": 1.0}])


def _promoted(run: str) -> Outgoing:
    event = ModelPromoted(
        model=MODEL, run=run, version=1, previous=0, model_sha256="0" * 64, reason="it is better"
    )
    return event_message(event, source="registry", origin=Origin())


async def say(bus: Bus, run: str) -> None:
    await bus.publish([_promoted(run)])


async def _until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def test_every_service_is_among_the_users() -> None:
    assert set(SERVICES) < set(USERS)
