"""Wiring of the registry."""

from driftloop.bus.bus import Bus
from driftloop.bus.room import keep_room
from driftloop.contracts import events
from driftloop.contracts.requests import OPERATE_DEAD
from driftloop.registry import streams
from driftloop.registry.handlers import Registry
from driftloop.registry.letters import LetterKeeper
from driftloop.registry.notary import Notary
from driftloop.registry.settings import RegistrySettings
from driftloop.registry.tokens import TokenKeeper
from driftloop.runtime.service import Service, Wired


async def wire(settings: RegistrySettings, bus: Bus) -> Wired:
    """Hears triggers, facts about runs, and commands; says everything that moves a model."""
    registry = Registry(bus, settings)
    await bus.control(
        {
            events.DriftDetected: registry.on_trigger,
            events.PerformanceDegraded: registry.on_trigger,
            events.LabelsShifted: registry.on_trigger,
            events.DataAccumulated: registry.on_trigger,
            events.TrainingStarted: registry.on_run_event,
            events.TrainingFailed: registry.on_run_event,
            events.CandidateTrained: registry.on_run_event,
            events.CandidateApproved: registry.on_run_event,
            events.CandidateRejected: registry.on_run_event,
            events.ShadowConcluded: registry.on_run_event,
        }
    )
    await bus.serve("command.*", registry.on_command)
    await bus.serve(OPERATE_DEAD, LetterKeeper(bus).on_request)
    await bus.serve("token.*", TokenKeeper(bus).on_request)
    return Wired(tasks=[registry.run(), Notary(bus).run(), keep_room(bus), streams.watch(bus)])


SERVICE = Service(name="registry", settings=RegistrySettings, wire=wire)
