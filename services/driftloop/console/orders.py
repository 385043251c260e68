"""Carries an operator's orders to who carries them out: the registry, and ingest."""

import asyncio
from pathlib import Path
from typing import Final, Literal

import msgspec

from driftloop.bus import letters
from driftloop.bus.bus import Bus
from driftloop.client.client import Client
from driftloop.client.requeue import Requeued, requeue
from driftloop.console.domain import edits
from driftloop.contracts import requests
from driftloop.contracts.errors import Overloaded
from driftloop.modelspec.spec import Registered
from driftloop.runtime.settings import Shared

COMMAND_SECONDS: Final = 15.0
REQUEUE_SECONDS: Final = 60.0
"""How long ingest may be away while rows of quarantine are sent again."""
USER: Final = "console"


class Orders:
    """Each is answered when it was carried out, or raises what the other side raises."""

    def __init__(self, bus: Bus, settings: Shared) -> None:
        self._bus = bus
        self._key = str(Path(settings.keys) / f"{USER}.nk") if settings.keys else ""
        self._ca = settings.nats_ca
        self._requeues = asyncio.Lock()

    async def command(self, model: str, command: requests.Command) -> requests.Done:
        """A command to the registry about a model that is registered."""
        await self._bus.spec(model)
        return await self._ask(requests.command(model), command, COMMAND_SECONDS)

    async def spec(self, model: str) -> Registered:
        """The spec as it is now, not as it was a moment ago."""
        self._bus.specs.forget(model)
        return await self._bus.spec(model)

    async def edit(
        self, model: str, text: str, revision: int, by: str, reason: str, request: str
    ) -> requests.Done:
        """Register a spec in place of `revision`; raises `SpecError` or `Outdated`."""
        spec = edits.accepted(text, (await self.spec(model)).spec)
        command = requests.Command(
            command="register",
            by=by,
            reason=reason,
            spec=msgspec.msgpack.encode(spec),
            revision=revision,
            request=request,
        )
        return await self._ask(requests.command(model), command, COMMAND_SECONDS)

    async def letter(self, seq: int) -> letters.Letter:
        """The dead letter at a sequence of DEAD; raises `InvalidInput` if there is none."""
        return letters.letter(await letters.message_of(self._bus, seq))

    async def dead(
        self, verb: Literal["replay", "drop"], order: requests.LetterOrder
    ) -> requests.Done:
        """Give a dead letter back to its consumer, or give it up."""
        wait = requests.REDELIVER_SECONDS + 5.0
        return await self._ask(requests.dead(verb), order, wait)

    async def requeue(self, model: str, reason: str) -> Requeued:
        """Send rows in quarantine again whose reason contains `reason`; one model at a time."""
        await self._bus.spec(model)
        if self._requeues.locked():
            raise Overloaded("quarantine: is being replayed; accepted: one at a time", 5.0)
        async with (
            self._requeues,
            Client(
                self._bus.connection.url,
                key=self._key,
                ca=self._ca,
                name=self._bus.service,
                deadline=REQUEUE_SECONDS,
            ) as client,
        ):
            return await requeue(self._bus, client, model, reason, 0.0)

    async def _ask(
        self, subject: str, asked: requests.Command | requests.LetterOrder, wait: float
    ) -> requests.Done:
        reply = await self._bus.ask(subject, msgspec.msgpack.encode(asked), timeout=wait)
        return msgspec.msgpack.decode(reply.payload, type=requests.Done)
