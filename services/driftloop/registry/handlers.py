"""Control events, the clocks of data and wall, and operators' commands, each into one decision."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from driftloop.bus.bus import Bus
from driftloop.bus.publish import Conflict
from driftloop.bus.requests import Reply, Request
from driftloop.contracts import codec
from driftloop.contracts.errors import DriftloopError, InvalidInput, Outdated
from driftloop.contracts.events import (
    AnyEvent,
    CandidateTrained,
    IntegrityRefused,
    SpecRegistered,
)
from driftloop.contracts.headers import Origin
from driftloop.contracts.names import check_model_name, new_id
from driftloop.contracts.requests import Command, Done
from driftloop.contracts.stats import JoinStats
from driftloop.modelspec import toml
from driftloop.modelspec.check import check
from driftloop.modelspec.spec import Registered, Spec
from driftloop.registry.clocks import Clocks
from driftloop.registry.domain import commands, stages, triggers
from driftloop.registry.domain.decision import Decision
from driftloop.registry.proofs import REFUSED, Proofs, Unproved
from driftloop.registry.settings import RegistrySettings
from driftloop.registry.store import Ledger

log = logging.getLogger(__name__)

MOST_TEXT: Final = 256_000
"""Characters of a spec that its event tells."""


class Registry:
    """The keeper of all models."""

    def __init__(self, bus: Bus, settings: RegistrySettings) -> None:
        self._bus = bus
        self._settings = settings
        self._ledger = Ledger(bus)
        self._proofs = Proofs(bus)
        self._clocks = Clocks(bus)

    async def on_trigger(self, event: AnyEvent, origin: Origin) -> Sequence[AnyEvent]:
        """An alarm, or new data: may start a run."""
        fired = triggers.fired(event)
        await self._ledger.decide(
            event.model, origin, lambda d: triggers.on_trigger(d, fired), seen=event.event_id()
        )
        return ()

    async def on_run_event(self, event: AnyEvent, origin: Origin) -> Sequence[AnyEvent]:
        """A fact about a run: may move it to its next stage."""

        def decide(decision: Decision) -> None:
            stages.on_run_event(decision, event)

        if isinstance(event, CandidateTrained) and (refused := self._proofs.candidate(event)):
            await self._refuse(refused, origin)
            return ()
        try:
            await self._ledger.decide(event.model, origin, decide, seen=event.event_id())
        except Unproved as error:
            log.error("%s: not promoted: %s", event.model, error)
        return ()

    async def _refuse(self, refused: IntegrityRefused, origin: Origin) -> None:
        """Say what was ignored. The run goes on: who can forge must not be able to end it.

        What is remembered as seen is this event's id: the true candidate has that of the forged.
        """
        log.error("%s: ignored: %s", refused.model, refused.reason)
        REFUSED.labels(refused.model, refused.what).inc()
        await self._ledger.decide(
            refused.model, origin, lambda d: d.say(refused), seen=refused.event_id()
        )

    async def on_command(self, request: Request) -> Reply:
        """An operator's command."""
        model = check_model_name(request.subject.split(".", 1)[1])
        try:
            command = msgspec.msgpack.decode(request.payload, type=Command)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput(f"command: {error}; accepted: a MessagePack Command") from error
        command = msgspec.structs.replace(command, request=command.request or new_id())
        if command.command == "register":
            done = await self._register(model, command)
        else:
            await self._bus.spec(model)
            done = await self._ledger.decide(
                model,
                Origin(),
                lambda d: commands.on_command(d, command),
                seen=f"command:{command.request}",
            ) or Done(text="this request was carried out before")
        return Reply(payload=msgspec.msgpack.encode(done))

    async def _register(self, model: str, command: Command) -> Done:
        try:
            spec = check(msgspec.msgpack.decode(command.spec, type=Spec))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput(f"spec: {error}; accepted: a MessagePack Spec") from error
        if spec.name != model:
            raise InvalidInput(f"name: {spec.name!r} is not the model asked for; accepted: {model}")
        entry = await self._bus.specs.read(model)
        known = entry.value
        newest = known.revision if known else 0
        if command.revision not in (None, newest):
            by = f" by {known.by}" if known else ""
            raise Outdated(
                f"revision: {command.revision} is not the newest, which is {newest}{by}; accepted:"
                f" an edit of revision {newest}"
            )
        if known is not None and known.spec == spec:
            text = f"spec of {model} is unchanged at revision {newest}"
            return Done(text=text, revision=newest)
        registered = Registered(
            spec=spec, revision=newest + 1, by=command.by, at=time.time(), reason=command.reason
        )
        try:
            await self._bus.specs.write(model, registered, entry.revision)
        except Conflict:
            return await self._register(model, command)
        await self._announce(registered)
        text = f"spec of {model} is registered as revision {newest + 1}"
        return Done(text=text, revision=newest + 1)

    async def _announce(self, registered: Registered) -> None:
        """Say that a spec was registered, unless that was said."""
        text = toml.dumps(registered.spec)
        event = SpecRegistered(
            model=registered.spec.name,
            revision=registered.revision,
            by=registered.by,
            reason=registered.reason,
            text=text if len(text) <= MOST_TEXT else "",
        )
        if not await self._ledger.was_said(event):
            await self._bus.emit(event)

    async def on_data_clock(self, stats: JoinStats) -> None:
        """The label join says how far the data's clock is: triggers that wait may start now."""
        state = await self._bus.models.get(stats.about)
        if state is None or state.deferred is None or state.run is not None:
            return
        if state.paused is not None:
            return
        waiting = state.deferred

        def decide(decision: Decision) -> None:
            triggers.on_clock(decision, stats.data_time)

        run = triggers.run_of(waiting.trigger_id, waiting.attempt)
        origin = Origin(correlation=run, causation=waiting.trigger_id)
        await self._ledger.decide(stats.about, origin, decide)

    async def run(self) -> None:
        """Say what was left unsaid, then look at deadlines and schedules until the end."""
        settled = False
        await self._bus.hear("stats.join.*", self._clock_message)
        while not self._bus.stopping.is_set():
            try:
                if not settled:
                    await self._settle()
                settled = True
                await self._tick()
            except DriftloopError as error:  # the broker is away: the next look may find it
                log.warning("registry: %s", error)
            await asyncio.sleep(self._settings.tick_seconds)

    async def _settle(self) -> None:
        await self._ledger.settle()
        for model in await self._bus.specs.keys():
            await self._announce(await self._bus.spec(model))

    async def _clock_message(self, message: object) -> None:
        try:
            stat = codec.decode_stat(getattr(message, "data", b""))
            if isinstance(stat, JoinStats):
                await self.on_data_clock(stat)
        except DriftloopError as error:
            log.warning("data clock: %s", error)

    async def _tick(self) -> None:
        """Look at the deadlines and schedules that are due."""
        await self._clocks.read()
        for model, cause in self._clocks.late(time.time()):
            await self._ledger.decide(model, Origin(causation=cause), stages.on_deadline)
        for model in self._clocks.scheduled(time.time()):
            await self._ledger.decide(model, Origin(), triggers.on_schedule)
