"""What an operator wants done with dead letters: given back to who could not use them, or given up.

Each leaves an event before the letter goes; a registry that dies in between does it again.
"""

import msgspec

from driftloop.bus import letters, redeliver
from driftloop.bus.bus import Bus
from driftloop.bus.requests import Reply, Request
from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.events import LetterDropped, LetterReplayed
from driftloop.contracts.requests import Done, LetterOrder


class LetterKeeper:
    """Carries out orders about dead letters."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def on_request(self, request: Request) -> Reply:
        """A `LetterOrder`; raises `InvalidInput`, and what the consumer of the letter raises."""
        try:
            order = msgspec.msgpack.decode(request.payload, type=LetterOrder)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise InvalidInput(f"payload: {error}; accepted: a MessagePack LetterOrder") from error
        verb = request.subject.rpartition(".")[2]
        if verb not in ("replay", "drop"):
            raise InvalidInput(f"subject: {verb[:80]!r} is no order; accepted: replay, drop")
        found = await letters.message_of(self._bus, order.letter)
        about = letters.letter(found)
        if verb == "replay":
            await redeliver.give_back(self._bus, found)
        event = LetterReplayed if verb == "replay" else LetterDropped
        await self._bus.emit(
            event(
                model=about.model,
                letter=about.seq,
                service=about.service,
                position=about.position,
                by=order.by,
                reason=order.reason or "no reason given",
            )
        )
        await letters.remove(self._bus, about.seq)
        done = "was handled" if verb == "replay" else "is given up"
        return Reply(
            payload=msgspec.msgpack.encode(
                Done(text=f"letter {about.seq} of {about.service} ({about.position}) {done}")
            )
        )
