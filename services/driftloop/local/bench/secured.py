"""What security costs: the same system with keys, rights, signatures and tokens, and without.

Both run at once and are loaded in turns, one after the other within seconds, so that a machine
whose speed changes is the same for both. The stream is offered a fixed rate, so that the CPU it
takes and its latency are compared; HTTP is asked as fast as it answers.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import msgspec

from driftloop.artifacts import signing
from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.bus.rights import ADMIN
from driftloop.contracts.manifest import canonical
from driftloop.contracts.names import digest
from driftloop.contracts.state import ModelState, Promotion, Version
from driftloop.contracts.tokens import Token, new_secret
from driftloop.local.bench import bodies, ours, wrk
from driftloop.local.bench.bodies import NAMES
from driftloop.local.bench.chain.load import ChainJob
from driftloop.local.bench.chain.run import load
from driftloop.local.bench.models import Fitted, fitted
from driftloop.local.system import System
from driftloop.modelspec.spec import Registered
from driftloop.runtime.settings import PREFIX

SERVICES: Final = ("ingest", "validation", "inference", "feedback", "drift", "telemetry")
MODEL: Final = "bench"
ROWS: Final = 256
CONNECTIONS: Final = 32
BODIES: Final = 64
SECONDS_TO_DRAIN: Final = 30.0

Tell = Callable[[str], None]


class SecuredOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Rows a second that the stream is offered, seconds of each load, and turns of both."""

    rate: float = 15_000.0
    seconds: float = 4.0
    repeats: int = 10
    folder: Path = Path(".driftloop/bench")


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of one system."""

    stream_p50_ms: float
    stream_p99_ms: float
    stream_cores: float
    """Of NATS and all services, at the rate offered."""
    http_rate: float
    """Requests a second."""
    http_p50_ms: float
    http_p99_ms: float


class SecuredResult(msgspec.Struct, frozen=True, kw_only=True):
    """All turns, and the medians of secured : open, turn by turn."""

    open: list[Turn]
    secured: list[Turn]

    def middle(self, of: str, name: str) -> float:
        """Median of a figure over the turns of `open` or `secured`."""
        turns: list[Turn] = getattr(self, of)
        return float(median(getattr(turn, name) for turn in turns))

    def ratios(self) -> dict[str, float]:
        """Median over the turns of secured : open, for each figure."""
        pairs = [
            {name: getattr(s, name) / getattr(o, name) for name in Turn.__struct_fields__}
            for o, s in zip(self.open, self.secured, strict=True)
        ]
        return {name: median(pair[name] for pair in pairs) for name in Turn.__struct_fields__}


def run_secured(options: SecuredOptions, tell: Tell) -> SecuredResult:
    """All turns."""
    return asyncio.run(_turns(options, fitted("logreg", options.folder), tell))


async def _turns(options: SecuredOptions, model: Fitted, tell: Tell) -> SecuredResult:
    found = SecuredResult(open=[], secured=[])
    async with contextlib.AsyncExitStack() as both:
        sides = [await both.enter_async_context(_side(model, secure)) for secure in (False, True)]
        for side in sides:  # what a first load pays for, no turn should
            await side.turn(options)
        for turn in range(options.repeats):
            # Who goes first changes places, as a machine may grow slower.
            for side in sides[:: -1 if turn % 2 else 1]:
                made = await side.turn(options)
                what = "secured" if side.system.secure else "open"
                (found.secured if side.system.secure else found.open).append(made)
                tell(
                    f"turn {turn + 1} {what}: stream p99 {made.stream_p99_ms:.1f} ms and "
                    f"{made.stream_cores:.2f} cores, HTTP {made.http_rate:,.0f}/s"
                )
    return found


class _Side(NamedTuple):
    """A running system, and what its HTTP is asked."""

    system: System
    script: Path

    async def turn(self, options: SecuredOptions) -> Turn:
        """Load the stream, then HTTP."""
        system = self.system
        job = ChainJob(
            url=system.url,
            keys=system.keys,
            user=ADMIN,
            model=MODEL,
            rate=options.rate,
            rows=ROWS,
            seconds=options.seconds,
            run=f"t{next(_runs)}",
            drain=SECONDS_TO_DRAIN,
        )
        before, began = system.usage(), time.monotonic()
        told = await asyncio.to_thread(load, job)
        after, took = system.usage(), time.monotonic() - began
        url = f"{system.http('inference')}/v2/models/{MODEL}/infer"
        http = await asyncio.to_thread(wrk.run, self.script, url, CONNECTIONS, options.seconds)
        if http.errors:
            raise RuntimeError(f"secured: {http.errors} of the requests over HTTP failed")
        used = sum(cpu - before.get(name, (0.0, 0.0))[1] for name, (_, cpu) in after.items())
        return Turn(
            stream_p50_ms=told.p50_ms,
            stream_p99_ms=told.p99_ms,
            stream_cores=used / took,
            http_rate=http.requests / http.seconds,
            http_p50_ms=http.p50_ms,
            http_p99_ms=http.p99_ms,
        )


_runs = count()


@contextlib.asynccontextmanager
async def _side(model: Fitted, secure: bool) -> AsyncIterator[_Side]:
    """One of the two systems, with its champion."""
    tokens = {f"{PREFIX}TOKENS": "required" if secure else "off"}
    with tempfile.TemporaryDirectory(prefix="driftloop-bench-") as name:
        folder = Path(name)
        system = System(
            folder, base_port=0, nats_port=0, services=SERVICES, secure=secure, environment=tokens
        )
        try:
            await system.start()
            secret = await _fill(system, model)
            made = bodies.requests("v2", MODEL, model.groups(BODIES, 1))
            if secret:
                headers = {**made.headers, "Authorization": f"Bearer {secret}"}
                made = msgspec.structs.replace(made, headers=headers)
            yield _Side(system, wrk.prepare(folder, "w1", made))
        finally:
            await system.stop()


async def _fill(system: System, model: Fitted) -> str:
    """Make the model the champion as trainer and registry do; the secret of a token for it."""
    data = model.path.read_bytes()
    async with system.bus("trainer") as trainer, system.bus("registry") as registry:
        await Artifacts(trainer).put(data)
        manifest = ours.bare_manifest(MODEL, 1, data, NAMES)
        signature = signing.signed_manifest(trainer.identity, manifest)
        version = Version(
            manifest=manifest,
            manifest_sha256=digest(canonical(manifest)),
            run="bench",
            stage="champion",
            signature=signature,
        )
        spec = Registered(spec=ours.spec(MODEL), revision=1, by="bench", at=time.time())
        await registry.specs.write(MODEL, spec, 0)
        promotion = Promotion(
            model=MODEL,
            number=1,
            version=1,
            previous=0,
            manifest_sha256=version.manifest_sha256,
            model_sha256=manifest.model_sha256,
        )
        if registry.identity is not None:
            promotion = signing.countersigned(registry.identity, promotion)
        state = ModelState(
            model=MODEL, champion=1, promotion=promotion, next_version=2, versions={1: version}
        )
        await registry.models.write(MODEL, state, 0)
        return await _token(registry) if system.secure else ""


async def _token(registry: Bus) -> str:
    """A token that may ask for predictions; its secret."""
    secret = new_secret()
    token = Token(
        name="bench", id=secret.id, sha256=secret.sha256, scopes=("predict",), models=(MODEL,)
    )
    await registry.tokens.write(token.name, token, 0)
    return secret.text
