"""A promotion waits for a second person: the real registry, asked by the command line."""

import json

import pytest

from driftloop.bus.bus import Bus
from driftloop.cli.steer import order
from driftloop.contracts import events as e
from driftloop.contracts import subjects
from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.requests import Command
from driftloop.contracts.state import ModelState
from driftloop.local.nats import NatsServer
from driftloop.registry.app import SERVICE
from tests.support.flows import eventually, held, register, running
from tests.support.loop import spec
from tests.support.processes import driftloop
from tests.unit.registry.keeper import DAY, MODEL, Keeper


async def state_of(bus: Bus) -> ModelState:
    return (await bus.models.read(MODEL)).value or ModelState(model=MODEL)


async def hear(bus: Bus, keeper: Keeper, event: e.AnyEvent) -> None:
    """Say an event and wait until the registry has decided on it."""
    await bus.emit(event)

    async def true() -> bool:
        return event.event_id() in (await state_of(bus)).seen

    await eventually(true, event.event_id())
    keeper.state = await state_of(bus)


async def test_a_winner_waits_until_somebody_else_approves(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, spec(approval="required"))
    keeper, url = Keeper(), nats_server.url
    async with running(SERVICE, url):
        await hear(bus, keeper, keeper.accumulated(100))
        await hear(bus, keeper, keeper.trained())
        await hear(bus, keeper, keeper.approved())
        assert (keeper.state.champion, keeper.run.stage) == (0, "approval")
        await order(bus, MODEL, Command(command="approve", by="bob"))
        await order(bus, MODEL, Command(command="retrain", by="ann"))
        keeper.state = await state_of(bus)
        await hear(bus, keeper, keeper.trained())
        await hear(bus, keeper, keeper.approved())
        await hear(bus, keeper, keeper.concluded("challenger", "better"))
        assert (keeper.state.champion, keeper.run.stage) == (1, "approval")
        with pytest.raises(InvalidInput, match="asked for version 2; accepted: another person"):
            await order(bus, MODEL, Command(command="approve", by="ann"))
        _, out, _ = await driftloop(url, "approve", MODEL, "2", "--by", "bob", "--json")
        assert json.loads(out)["text"] == "version 2 is the champion of tide"
        keeper.state = await state_of(bus)
        assert (keeper.state.champion, keeper.run.stage) == (2, "probation")
    kinds = [m.event().kind for m in await held(bus, "EVENTS", f"events.{MODEL}.approval.>")]
    assert kinds == ["approval.requested", "approval.given"] * 2
    (_, given) = await held(bus, "EVENTS", subjects.event(MODEL, e.ApprovalGiven.kind))
    event = given.event()
    assert isinstance(event, e.ApprovalGiven)
    assert (event.by, event.version) == ("bob", 2)


async def test_what_is_denied_is_not_promoted(bus: Bus, nats_server: NatsServer) -> None:
    await register(bus, spec())
    keeper, url = Keeper(), nats_server.url
    async with running(SERVICE, url):
        await hear(bus, keeper, keeper.accumulated(100))
        await hear(bus, keeper, keeper.trained())
        await hear(bus, keeper, keeper.approved())
        await register(bus, spec(approval="required"))
        await hear(bus, keeper, keeper.drift(DAY))
        await hear(bus, keeper, keeper.trained())
        await hear(bus, keeper, keeper.approved())
        await hear(bus, keeper, keeper.concluded("challenger", "better"))
        said = ("--deny", "--by", "cleo", "--reason", "wrong season")
        code, out, _ = await driftloop(url, "approve", MODEL, *said)
        assert (code, out) == (0, "version 2 is not promoted\n")
        state = await state_of(bus)
        assert (state.champion, state.run, state.waiting) == (1, None, None)
        assert state.history[-1].outcome == "denied by cleo: wrong season"
