"""Wiring of the registry."""

from driftloop.bus.bus import Bus
from driftloop.contracts import events
from driftloop.registry.handlers import Registry
from driftloop.registry.settings import RegistrySettings
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
    return Wired(tasks=[registry.run()])


SERVICE = Service(name="registry", settings=RegistrySettings, wire=wire)
