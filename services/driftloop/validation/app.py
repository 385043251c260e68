"""The validation service: what it hears, and who judges."""

from collections.abc import Iterator

from driftloop.artifacts.onnx_file import limits_of
from driftloop.bus.bus import Bus
from driftloop.bus.work import Work
from driftloop.contracts.events import CandidateTrained
from driftloop.contracts.subjects import CHECKS
from driftloop.runtime.service import Service, Wired
from driftloop.validation.handlers import RowChecks
from driftloop.validation.live import LiveGates
from driftloop.validation.offline import OfflineGate
from driftloop.validation.settings import ValidationSettings


async def wire(settings: ValidationSettings, bus: Bus) -> Wired:
    """Hears received rows, candidates and, for their shadows, outcomes; says rows and verdicts."""
    checks = RowChecks(bus, settings.batch_bytes)
    accepted = limits_of(settings.model_mb, settings.model_tensor_mb, settings.model_operators)
    gate = OfflineGate(bus, accepted)
    await bus.control({CandidateTrained: gate.on_candidate})
    return Wired(
        tasks=[bus.work(*_received(checks, settings.group)), LiveGates(bus).run()], close=gate.close
    )


def _received(checks: RowChecks, group: int) -> Iterator[Work]:
    """Rows as they were received, the live lane first."""
    for lane, durable in CHECKS.items():
        yield Work(
            stream="ROWS",
            subjects=(f"rows.*.received.{lane}",),
            durable=durable,
            handler=checks.check,
            group=group,
            ack_wait=5.0,  # after a crash the rows in hand wait so long; twice does no harm
        )


SERVICE = Service(name="validation", settings=ValidationSettings, wire=wire)
