"""The keeper on the real bus: state and events never part, whenever it dies."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.messages import event_message
from driftloop.contracts import events as e
from driftloop.contracts import requests, subjects
from driftloop.contracts.errors import InvalidInput, Outdated, UnknownModel
from driftloop.contracts.headers import MSG_ID, Origin
from driftloop.contracts.requests import Command, Done
from driftloop.contracts.state import ModelState, Pending
from driftloop.contracts.stats import JoinStats
from driftloop.local.nats import NatsServer
from driftloop.modelspec.check import parse
from driftloop.registry.app import SERVICE
from tests.support.flows import eventually, held, process, register, running
from tests.support.loop import spec
from tests.unit.registry.keeper import DAY, MODEL, Keeper


async def ask(bus: Bus, **command: Any) -> Done:
    asked = msgspec.msgpack.encode(Command(by="ann", **command))
    reply = await bus.ask(requests.command(MODEL), asked)
    return msgspec.msgpack.decode(reply.payload, type=Done)


async def state_of(bus: Bus) -> ModelState:
    found = (await bus.models.read(MODEL)).value
    return found or ModelState(model=MODEL)


async def said(bus: Bus, kind: str) -> list[e.AnyEvent]:
    return [m.event() for m in await held(bus, "EVENTS", subjects.event(MODEL, kind))]


async def heard(bus: Bus, event: e.AnyEvent) -> None:
    """Say an event and wait until the registry has decided on it."""
    await bus.emit(event)

    async def true() -> bool:
        return event.event_id() in (await state_of(bus)).seen

    await eventually(true, event.event_id())


async def test_the_loop_goes_from_the_first_rows_to_a_rolled_back_challenger(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, spec())
    keeper = Keeper()
    async with running(SERVICE, nats_server.url):

        async def hear(event: e.AnyEvent) -> None:
            await heard(bus, event)
            keeper.state = await state_of(bus)

        await hear(keeper.accumulated(100))
        await hear(keeper.trained())
        await hear(keeper.approved())
        assert keeper.state.champion == 1
        await hear(keeper.drift(DAY))
        await hear(keeper.trained())
        await hear(keeper.approved())
        await hear(keeper.concluded("challenger", "better"))
        assert keeper.state.champion == 2
        await hear(keeper.concluded("probation", "better"))
    assert keeper.state.champion == 1
    assert keeper.state.outbox == ()
    finished = await said(bus, "run.finished")
    assert [getattr(event, "verdict", "") for event in finished] == ["promoted", "rolled_back"]
    messages = await held(bus, "EVENTS", f"events.{MODEL}.>")
    by_id = {m.event_id: m for m in messages}
    at, chain = by_id[e.ModelRolledBack.kind + f":{MODEL}:" + keeper.state.history[-1].id], []
    while at.origin() and (cause := at.headers.get("dl-causation", "")):
        chain.append(at.event().kind)
        at = by_id[cause]
    assert chain == ["model.rolled_back"]
    assert at.event().kind == "shadow.concluded"


@pytest.mark.fault(5, "the registry finds a decision written and not said")
async def test_what_was_written_and_not_said_is_said_once_after_a_restart(
    bus: Bus, nats_server: NatsServer, tmp_path: Path
) -> None:
    await register(bus, spec())
    keeper = Keeper()
    keeper.now = time.time()
    keeper.hear(keeper.accumulated(100))
    outbox = keeper.pending
    await bus.models.write(MODEL, msgspec.structs.replace(keeper.state, outbox=outbox), 0)

    async def settled() -> bool:
        return (await state_of(bus)).outbox == ()

    for _ in range(2):
        with process("registry", nats_server.url, tmp_path) as service:
            await eventually(settled, "the outbox is empty")
            service.kill()
    assert len(await said(bus, "retrain.requested")) == 1
    assert (await state_of(bus)).run == keeper.state.run


async def test_what_was_said_long_before_the_crash_is_not_said_again(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, spec())
    keeper = Keeper()
    (asked,) = keeper.hear(keeper.accumulated(100))
    message = event_message(asked, source="registry", origin=Origin())
    forgotten = {**message.headers, MSG_ID: "an id that the stream no longer compares with"}
    await bus.publish([msgspec.structs.replace(message, headers=forgotten)])
    pending = (Pending(event=asked, origin=Origin()),)
    await bus.models.write(MODEL, msgspec.structs.replace(keeper.state, outbox=pending), 0)
    async with running(SERVICE, nats_server.url):

        async def settled() -> bool:
            return (await state_of(bus)).outbox == ()

        await eventually(settled, "the outbox is empty")
    assert len(await said(bus, "retrain.requested")) == 1


@pytest.mark.fault(5, "the registry is killed while it decides")
async def test_killed_while_it_decides_each_trigger_is_answered_once(
    bus: Bus, nats_server: NatsServer, tmp_path: Path
) -> None:
    await register(bus, spec())
    keeper = Keeper()
    keeper.hear(keeper.accumulated(100))
    keeper.finish_first_run()
    await bus.models.write(MODEL, keeper.state, 0)
    triggers = [keeper.accumulated(200 + at, DAY + at) for at in range(30)]
    with process("registry", nats_server.url, tmp_path) as service:
        for trigger in triggers:
            await bus.emit(trigger)

        async def some() -> bool:
            return len(await said(bus, "trigger.declined")) >= 8

        await eventually(some, "8 triggers are declined")
        service.kill()
        service.start()

        async with asyncio.timeout(60):  # what it had in hand comes again after `ACK_WAIT`
            while triggers[-1].event_id() not in (await state_of(bus)).seen:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    assert len(await said(bus, "retrain.requested")) == 1
    declined = await said(bus, "trigger.declined")
    answered = Counter(getattr(event, "trigger_id", "") for event in declined)
    assert answered == Counter(trigger.event_id() for trigger in triggers[1:])


async def test_a_waiting_alarm_starts_its_run_when_the_join_says_that_time_has_passed(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, spec())
    keeper = Keeper()
    keeper.hear(keeper.accumulated(100, DAY))
    keeper.finish_first_run()
    await bus.models.write(MODEL, keeper.state, 0)
    async with running(SERVICE, nats_server.url, tick_seconds=0.1):
        await heard(bus, keeper.drift(DAY + 1))
        assert (await state_of(bus)).deferred is not None

        async def begun() -> bool:
            await bus.stat(
                JoinStats(
                    about=MODEL,
                    outcomes_total=1,
                    waiting_predictions=0,
                    waiting_labels=0,
                    scored_seq=1,
                    labels_seq=1,
                    data_time=2 * DAY,
                )
            )
            return (await state_of(bus)).run is not None

        await eventually(begun, "a run")
    (asked,) = await said(bus, "retrain.requested")
    assert getattr(asked, "trigger", "") == "drift"


async def test_a_run_past_its_deadline_is_ended_and_a_schedule_that_is_due_starts_one(
    bus: Bus, nats_server: NatsServer
) -> None:
    limits = {"stage_deadline": "1s"}
    await register(bus, spec(limits=limits, triggers={"on": ["schedule"], "every": "1s"}))
    keeper = Keeper()
    keeper.hear(keeper.accumulated(100))
    keeper.finish_first_run()
    await bus.models.write(MODEL, keeper.state, 0)
    async with running(SERVICE, nats_server.url, tick_seconds=0.1):

        async def ended() -> bool:
            return len(await said(bus, "run.finished")) >= 1

        await eventually(ended, "a scheduled run fails at its deadline")
    (first, *_) = await said(bus, "run.finished")
    assert getattr(first, "reason", "") == "training was not done within its deadline"
    asked = (await held(bus, "EVENTS", subjects.event(MODEL, "retrain.requested")))[0]
    assert asked.headers["dl-causation"].startswith("schedule.due:")


async def test_operators_challengers_run_beside_each_other_and_the_first_that_is_better_wins(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, spec())
    keeper = three_versions()
    await bus.models.write(MODEL, keeper.state, 0)
    async with running(SERVICE, nats_server.url):
        assert (
            "version 2 challenges version 1"
            in (await ask(bus, command="challenge", version=2)).text
        )
        await ask(bus, command="challenge", version=3)
        with pytest.raises(InvalidInput, match="version: 3 is a shadow or in a run"):
            await ask(bus, command="challenge", version=3)
        keeper.state = await state_of(bus)
        assert [s.challenger for s in keeper.state.shadows] == [1, 2]
        await heard(bus, keeper.beside(3, "better"))
    state = await state_of(bus)
    assert (state.champion, [s.version for s in state.shadows]) == (3, [1])
    assert state.run is not None
    assert state.run.stage == "probation"
    (promoted,) = (await held(bus, "EVENTS", subjects.event(MODEL, "model.promoted")))[-1:]
    assert promoted.headers["dl-causation"] == keeper.beside(3, "better").event_id()
    (retired,) = await said(bus, "model.retired")
    assert getattr(retired, "reason", "") == "version 3 took over since"


async def test_a_pause_and_a_silence_are_kept_and_told_and_carried_out_once(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, spec())
    keeper = Keeper()
    keeper.hear(keeper.accumulated(100))
    keeper.finish_first_run()
    await bus.models.write(MODEL, keeper.state, 0)
    async with running(SERVICE, nats_server.url):
        done = await ask(bus, command="pause", reason="repair", request="one")
        assert done.text == f"the loop of {MODEL} is paused"
        again = await ask(bus, command="pause", reason="repair", request="one")
        assert again.text == "this request was carried out before"
        await ask(bus, command="silence", detector="a", seconds=60.0, reason="known")
        await heard(bus, keeper.drift(DAY))
        state = await state_of(bus)
        assert state.run is None
        assert state.paused is not None
        assert (state.paused.by, state.paused.reason, state.paused.declined) == ("ann", "repair", 1)
        assert [(its.detector, its.reason) for its in state.silences] == [("a", "known")]
        assert "1 trigger was declined" in (await ask(bus, command="resume")).text
        await heard(bus, keeper.drift(2 * DAY, 7_000))
    assert (await state_of(bus)).run is not None
    asked = [getattr(event, "command", "") for event in await said(bus, "operator.requested")]
    assert asked == ["pause", "silence", "resume"]


async def test_an_edit_of_a_spec_is_refused_if_another_came_first(
    bus: Bus, nats_server: NatsServer
) -> None:
    first = spec()

    async def edit(cooldown: str, revision: int | None, reason: str = "") -> Done:
        edited = msgspec.structs.replace(
            first, triggers=msgspec.structs.replace(first.triggers, cooldown=cooldown)
        )
        payload = msgspec.msgpack.encode(edited)
        return await ask(bus, command="register", spec=payload, revision=revision, reason=reason)

    async with running(SERVICE, nats_server.url):
        assert (await edit("1d", 0)).revision == 1
        assert (await edit("2d", 1, "fewer runs")).revision == 2
        with pytest.raises(Outdated, match="revision: 1 is not the newest, which is 2 by ann"):
            await edit("3d", 1)
        with pytest.raises(Outdated, match="revision: 3 is not the newest"):
            await edit("3d", 3)
        both = await asyncio.gather(edit("4d", 2), edit("5d", 2), return_exceptions=True)
        assert sorted(type(one).__name__ for one in both) == ["Done", "Outdated"]
        assert (await edit("6d", None)).revision == 4
    told = [
        (getattr(x, "revision", 0), getattr(x, "reason", ""))
        for x in await said(bus, "spec.registered")
    ]
    assert told == [(1, ""), (2, "fewer runs"), (3, ""), (4, "")]
    kept = (await bus.specs.read(MODEL)).value
    assert kept is not None
    assert (kept.revision, kept.spec.triggers.cooldown) == (4, "6d")


async def test_a_challenger_without_labels_retires_at_its_deadline(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, spec(shadow={"max_duration": "1s"}))
    await bus.models.write(MODEL, three_versions().state, 0)
    async with running(SERVICE, nats_server.url, tick_seconds=0.1):
        await ask(bus, command="challenge", version=2)

        async def ended() -> bool:
            return len(await said(bus, "model.retired")) == 1

        await eventually(ended, "a challenger retires at its deadline")
    assert (await state_of(bus)).shadows == ()


def three_versions() -> Keeper:
    """Version 1 is the champion; versions 2 and 3 were rejected offline."""
    keeper = Keeper()
    keeper.hear(keeper.accumulated(100))
    keeper.finish_first_run()
    for turn in (1, 2):
        keeper.hear(keeper.accumulated(1_000 * turn, 2 * DAY * turn))
        keeper.hear(keeper.trained())
        keeper.hear(keeper.rejected())
    return keeper


async def test_commands_are_answered_with_what_was_done_or_what_is_accepted(
    bus: Bus, nats_server: NatsServer
) -> None:
    async with running(SERVICE, nats_server.url):
        with pytest.raises(UnknownModel, match="'tide' is not registered"):
            await ask(bus, command="retrain")
        made = msgspec.msgpack.encode(spec())
        assert (await ask(bus, command="register", spec=made)).revision == 1
        again = await ask(bus, command="register", spec=made)
        assert "unchanged at revision 1" in again.text
        changed = msgspec.msgpack.encode(spec(description="of the harbour"))
        assert (await ask(bus, command="register", spec=changed)).revision == 2
        other = msgspec.msgpack.encode(spec(name="wind"))
        with pytest.raises(InvalidInput, match="name: 'wind' is not the model asked for"):
            await ask(bus, command="register", spec=other)
        with pytest.raises(InvalidInput, match="accepted: a MessagePack Spec"):
            await ask(bus, command="register", spec=b"\xc1")
        done = await ask(bus, command="retrain", reason="try", request="r1")
        assert "version 1 is being trained" in done.text
        repeated = await ask(bus, command="retrain", reason="try", request="r1")
        assert repeated.text == "this request was carried out before"
    told = [x for x in await said(bus, "spec.registered") if isinstance(x, e.SpecRegistered)]
    assert [(x.revision, parse(x.text)) for x in told] == [
        (1, spec()),
        (2, spec(description="of the harbour")),
    ]
    assert len(await said(bus, "operator.requested")) == 1
