"""The bus: what a service holds of NATS."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final
from weakref import WeakSet

import msgspec

from driftloop.bus import control, requests
from driftloop.bus.connection import Connection
from driftloop.bus.follow import Follow
from driftloop.bus.identity import Identity, Login, Trust, load
from driftloop.bus.kv import Bucket
from driftloop.bus.log import Log
from driftloop.bus.messages import Outgoing, event_message, stat_message
from driftloop.bus.ownership import Ownership
from driftloop.bus.provision import Layout, provision, provisioned
from driftloop.bus.publish import PATIENCE_SECONDS, publish_all, publish_next
from driftloop.bus.responder import Responder
from driftloop.bus.rights import ADMIN
from driftloop.bus.stored import Ack
from driftloop.bus.work import Work, run_works
from driftloop.contracts import codec, tokens
from driftloop.contracts.errors import UnknownModel
from driftloop.contracts.events import AnyEvent
from driftloop.contracts.headers import Origin
from driftloop.contracts.names import check_model_name, new_id
from driftloop.contracts.state import (
    MODELS_BUCKET,
    MONITORS_BUCKET,
    NOTICES_BUCKET,
    SPECS_BUCKET,
    TOKENS_BUCKET,
    ModelState,
)
from driftloop.contracts.stats import AnyStat
from driftloop.modelspec.spec import Registered

SHOWN: Final = 20
"""Names of models that an error lists."""


class Bus:
    """Streams, state and requests of one process. Make it with `Bus.open`, end it with `close`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.log = Log(connection)
        decode_spec = msgspec.msgpack.Decoder(Registered).decode
        self.specs: Bucket[Registered] = Bucket(
            connection, SPECS_BUCKET, msgspec.msgpack.encode, decode_spec, owner="registry"
        )
        self.models: Bucket[ModelState] = Bucket(
            connection, MODELS_BUCKET, codec.encode, codec.decode_state, owner="registry"
        )
        self.monitors: Bucket[bytes] = Bucket(
            connection, MONITORS_BUCKET, bytes, bytes, owner="drift"
        )
        self.notices: Bucket[bytes] = Bucket(
            connection, NOTICES_BUCKET, bytes, bytes, owner="console"
        )
        self.tokens: Bucket[tokens.Token] = Bucket(
            connection, TOKENS_BUCKET, msgspec.msgpack.encode, tokens.decode, owner="registry"
        )
        self.names_models = True
        """Whether an error about an unknown model lists the known ones."""
        self.stopping = asyncio.Event()
        self._instance = new_id()[:8]
        self._follows: WeakSet[Follow] = WeakSet()
        self._count = itertools.count()

    @classmethod
    async def open(
        cls,
        url: str,
        service: str,
        *,
        on_closed: Callable[[], None] | None = None,
        layout: Layout | None = None,
        keys: str = "",
        user: str = "",
        ca: str = "",
    ) -> "Bus":
        """Connect; with a `layout`, make the streams and buckets where they are missing.

        `keys` is a folder as in `bus.identity`: then `user` (the service unless it is given) logs
        in with its key, and signs what it says. Only the admin may make streams then; for others a
        `layout` means that they have to be there (`ConnectionError`). `ca` is as in `Login`.
        """
        mine, trust = load(keys, user or service) if keys else (None, None)
        connection = Connection(url, service, on_closed, Login(mine, trust, ca))
        await connection.open()
        try:
            if layout is not None:
                made = mine is None or mine.name == ADMIN
                await (provision(connection.js, layout) if made else provisioned(connection.js))
            bus = cls(connection)
            await bus._watch()
        except BaseException:
            await connection.close()
            raise
        return bus

    @property
    def service(self) -> str:
        """The name this process has on the bus."""
        return self.connection.service

    @property
    def identity(self) -> Identity | None:
        """This process's key, which signs; None where there are no keys."""
        return self.connection.identity

    @property
    def trust(self) -> Trust | None:
        """The public keys of all users; None where there are no keys, and nothing is verified."""
        return self.connection.trust

    async def close(self) -> None:
        """Stop consuming, drain, disconnect."""
        self.stopping.set()
        await self.connection.close()

    async def emit(
        self, event: AnyEvent, origin: Origin | None = None, extra: dict[str, str] | None = None
    ) -> None:
        """Say a control event outside of a handler's return value."""
        origin = origin or Origin()
        await self.publish([event_message(event, source=self.service, origin=origin, extra=extra)])

    async def stat(self, stat: AnyStat) -> None:
        """Publish a measurement without waiting for its acknowledgement."""
        msg_id = f"{stat.kind}:{stat.about}:{self._instance}:{next(self._count)}"
        message = stat_message(stat, source=self.service, msg_id=msg_id)
        await self.connection.nc.publish(message.subject, message.payload, headers=message.headers)

    async def publish(
        self, messages: Sequence[Outgoing], patience: float = PATIENCE_SECONDS
    ) -> list[Ack]:
        """Publish into streams; where each message lies now, and whether it was there already."""
        return await publish_all(self.connection, messages, patience)

    async def publish_next(self, message: Outgoing, last_seq: int) -> int:
        """Publish as the single writer of a subject; see `publish.publish_next`."""
        return await publish_next(self.connection, message, last_seq)

    async def control(self, handlers: control.Handlers) -> None:
        """Hear control events by a table from event to handler."""
        await control.subscribe(self.connection, handlers)

    def work(self, *works: Work) -> Coroutine[Any, Any, None]:
        """A background task that consumes streams with shared durable consumers.

        Of several works the first goes first: the others wait while it has messages in hand.
        """
        return run_works(self.connection, works, self.stopping)

    def ownership(self, partitions: int) -> Ownership:
        """This replica's part in the `partitions` of its service's state."""
        return Ownership(self.connection, partitions, self.stopping)

    def follow(self, stream: str, subjects: tuple[str, ...], start: int) -> Follow:
        """An ordered reader of a stream from a sequence on."""
        made = Follow(self.connection, stream, subjects, start)
        self._follows.add(made)
        return made

    def behind(self) -> dict[str, int]:
        """Messages by stream that the reader that is furthest behind has not read yet."""
        found: dict[str, int] = {}
        for follow in list(self._follows):
            found[follow.stream] = max(found.get(follow.stream, 0), follow.behind)
        return found

    async def serve(
        self,
        subject: str,
        handler: requests.RequestHandler,
        refused: Callable[[str], None] | None = None,
    ) -> None:
        """Answer requests; `refused` hears the subjects of those that were too many."""
        await requests.serve(self.connection, subject, handler, refused)

    def responder(self) -> Responder:
        """What answers requests at a high rate; `start` it with a subject and who hears them."""
        return Responder(self.connection)

    async def ask(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        timeout: float = 5.0,  # noqa: ASYNC109  # passed on to the client, which has its own
    ) -> requests.Reply:
        """Send a request and wait for the answer."""
        return await requests.ask(
            self.connection, subject, payload, headers=headers, timeout=timeout
        )

    async def start(self) -> None:
        """Begin to deliver control events."""
        await self.connection.broker.start()

    async def spec(self, model: str) -> Registered:
        """The registered spec of a model; raises `InvalidName` or `UnknownModel`."""
        found = await self.specs.get(check_model_name(model))
        if found is None:
            if not self.names_models:
                raise unknown(model)
            names = await self.specs.known()
            known = ", ".join(names[:SHOWN]) or "none is registered yet"
            known += f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise UnknownModel(f"model: {model!r} is not registered; accepted: {known}")
        return found

    async def hear(self, subject: str, heard: Callable[[Any], Any]) -> None:
        """Call `heard` with each message from now on, unacknowledged: for nudges, not for work."""
        await self.connection.nc.subscribe(subject, cb=heard)

    async def _watch(self) -> None:
        """Forget cached specs and states as soon as an event says that they changed."""

        async def changed(message: Any) -> None:
            model = message.subject.split(".")[1]
            self.specs.forget(model)
            self.models.forget(model)

        await self.hear("events.>", changed)


def unknown(model: str) -> UnknownModel:
    """The error about a model that is not there, or that the caller may know nothing of."""
    return UnknownModel(f"model: {model!r} is not registered; accepted: one that is")
