"""Wiring of the trainer."""

from driftloop.bus.bus import Bus
from driftloop.contracts.events import RetrainRequested
from driftloop.runtime.service import Service, Wired
from driftloop.trainer.handlers import Trainer
from driftloop.trainer.settings import TrainerSettings


async def wire(settings: TrainerSettings, bus: Bus) -> Wired:
    """Hears requests for a retrain; says what was started, trained or failed."""
    trainer = Trainer(bus, settings)
    await bus.control({RetrainRequested: trainer.on_retrain})
    return Wired(close=trainer.close)


SERVICE = Service(name="trainer", settings=TrainerSettings, wire=wire)
