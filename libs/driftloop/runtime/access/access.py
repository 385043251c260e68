"""The tokens as one process knows them, and the check every door makes of a request."""

import asyncio
import ipaddress
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from driftloop.bus.bus import Bus, unknown
from driftloop.contracts.errors import DriftloopError, Retry
from driftloop.contracts.names import check_model_name
from driftloop.contracts.tokens import EVERY, Scope, Token, id_of, same
from driftloop.runtime import metrics
from driftloop.runtime.access.rate import Rate
from driftloop.runtime.problems import NotAuthenticated, NotPermitted, TooFast, TooLarge
from driftloop.runtime.settings import Shared

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""How often changes of the tokens are read: a revoked one is refused after so long."""
MOST_HEADERS: Final = 4_096
"""`authorization` headers whose token is known at once; when there are more, all are read anew."""
_SCHEME: Final = b"bearer "

REFUSED: Final = metrics.counter(
    "access_refused",
    "Requests refused for want of a right, by reason and, where it is known, token",
    ["reason", "token"],
)


class Right:
    """A good token: what it covers, and how much of it is used up in this process."""

    __slots__ = ("_clock", "_max_bytes", "_rate", "models", "scopes", "token")

    def __init__(self, token: Token, clock: Callable[[], float]) -> None:
        self.token = token
        self.scopes = frozenset(token.scopes)
        self.models = None if EVERY in token.models else frozenset(token.models)
        """Names of the models, or None for all."""
        self._max_bytes = token.max_bytes
        self._clock = clock
        self._rate = Rate(token.rate, clock()) if token.rate else None

    def covers(self, model: str) -> bool:
        """Whether it is for this model."""
        return self.models is None or model in self.models

    def enter(self, size: int) -> None:
        """Let a request with a body of `size` bytes in; raises `TooLarge` or `TooFast`."""
        if self._max_bytes:
            self.check_size(size)
        if self._rate is not None and (seconds := self._rate.wait(self._clock())):
            REFUSED.labels("rate", self.token.name).inc()
            told = f"token {self.token.name}: is over {self.token.rate:g} rows a second"
            raise TooFast(f"{told}; accepted: again in {seconds:.2g} s", delay=seconds)

    def take(self, rows: int) -> None:
        """The request has so many rows; its first is paid."""
        if self._rate is not None and rows > 1:
            self._rate.take(rows - 1)

    def check_size(self, size: int) -> None:
        """Raise `TooLarge` for a body of too many bytes."""
        if self._max_bytes and size > self._max_bytes:
            REFUSED.labels("size", self.token.name).inc()
            told = f"body: {size} bytes are too many for token {self.token.name}"
            raise TooLarge(f"{told}; accepted: at most {self._max_bytes} bytes")


Enter = Callable[[int], Right | None]
"""Lets a request with a body of so many bytes in; raises as `Access.enter`."""


class Access:
    """Who may do what; `run` keeps it current.

    While NATS is away the tokens known last are good. `clock` is for rates, `now` for expiry.
    """

    def __init__(
        self,
        bus: Bus,
        settings: Shared,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._now = now
        self.required = required(settings)
        """Whether a request needs a token at all; else none is looked at."""
        self._changes = bus.tokens.changes()
        self._tokens: dict[str, Token] = {}
        self._rights: dict[str, Right] = {}
        self._known: dict[bytes, Right] = {}
        self._read = self._stale = False
        if self.required:
            bus.names_models = False
        elif not is_loopback(settings.host):
            log.warning(
                "tokens: %s on %s: whoever reaches this address may do everything",
                settings.tokens,
                settings.host,
            )

    def problem(self) -> str:
        """Why nobody can be let in; empty if somebody can."""
        return "tokens: not read yet" if self.required and not self._read else ""

    def enter(
        self, header: bytes, scopes: frozenset[Scope], model: str = "", size: int = 0
    ) -> Right | None:
        """Let a request in: by its `authorization`, for one of `scopes`, for a model if there is
        one, with a body of `size` bytes. None where no token is required.

        Raises `NotAuthenticated`, `NotPermitted`, `UnknownModel`, `TooLarge`, `TooFast`, and
        `Retry` before the tokens are read.
        """
        if not self.required:
            return None
        right = self.admit(header, scopes)
        if model and not right.covers(model):
            REFUSED.labels("model", right.token.name).inc()
            raise unknown(check_model_name(model))
        right.enter(size)
        return right

    def entrance(self, header: bytes, scopes: frozenset[Scope], model: str) -> Enter | None:
        """`enter` for all requests with one head, but for the size of the body."""
        return partial(self.enter, header, scopes, model) if self.required else None

    def admit(self, header: bytes, scopes: frozenset[Scope]) -> Right:
        """The right of a token with one of the scopes, for whatever model; raises as `enter`."""
        right = self._known.get(header) or self._find(header)
        if right.scopes.isdisjoint(scopes):
            REFUSED.labels("scope", right.token.name).inc()
            needed, has = " or ".join(sorted(scopes)), ", ".join(right.token.scopes)
            raise NotPermitted(f"token {right.token.name}: has the scope {has}; accepted: {needed}")
        return right

    def refuse_part(self, right: Right) -> NotPermitted:
        """The error for a token of some models where all are told of."""
        REFUSED.labels("scope", right.token.name).inc()
        has = ", ".join(right.token.models)
        return NotPermitted(
            f"token {right.token.name}: is for {has}, and this is about all models; "
            "accepted: a token for all"
        )

    def good(self, right: Right) -> bool:
        """Whether a right that was given is still good: asked by what lasts, as an open page."""
        return self._rights.get(right.token.id) is right

    async def run(self) -> None:
        """Keep the tokens current, until the bus stops."""
        while self.required and not self._bus.stopping.is_set():
            await self.look()
            try:
                await asyncio.wait_for(self._bus.stopping.wait(), LOOK_SECONDS)
            except TimeoutError:
                continue
        await self._bus.stopping.wait()

    async def look(self) -> None:
        """Read what has changed of the tokens, and drop those whose time is over."""
        try:
            changed = await self._changes.next()
        except DriftloopError as error:
            if not self._stale:
                log.warning("tokens: as they were last: %s", error)
            self._stale = True
        else:
            self._read, self._stale = True, False
            for name, token in changed.items():
                self._change(name, token)
        now = self._now()
        for name, token in list(self._tokens.items()):
            if not token.live(now):
                self._change(name, None)

    def _change(self, name: str, token: Token | None) -> None:
        before = self._tokens.pop(name, None)
        if before is not None:
            self._rights.pop(before.id, None)
        self._known.clear()
        if token is not None and token.live(self._now()):
            self._tokens[name] = token
            self._rights[token.id] = Right(token, self._clock)

    def _find(self, header: bytes) -> Right:
        """The right of a header that was not seen before; only good ones are kept in mind."""
        if not self._read:
            raise Retry(f"{self.problem()}; try again later", delay=1.0)
        if not header:
            REFUSED.labels("no_token", "").inc()
            raise NotAuthenticated("authorization: is missing; accepted: Bearer and a token")
        text = secret_in(header)
        right = self._rights.get(id_of(text)) if text else None
        if right is None or not same(right.token, text):
            REFUSED.labels("wrong_token", "").inc()
            raise NotAuthenticated(
                "authorization: this token is not known, is revoked, or has expired; "
                "accepted: Bearer and a token (`driftloop token create`)"
            )
        if len(self._known) >= MOST_HEADERS:
            self._known.clear()
        self._known[header] = right
        return right


def secret_in(header: bytes) -> str:
    """The secret in the value of `authorization`; empty if there is none."""
    if header[: len(_SCHEME)].lower() != _SCHEME:
        return ""
    return header[len(_SCHEME) :].strip().decode("latin-1")


def bearer(text: str) -> bytes:
    """The value of `authorization` for a secret."""
    return b"Bearer " + text.encode("utf-8", "replace")


def required(settings: Shared) -> bool:
    """Whether requests need a token: `auto` spares a server that only this machine reaches."""
    if settings.tokens == "auto":
        return not is_loopback(settings.host)
    return settings.tokens == "required"


def is_loopback(host: str) -> bool:
    """Whether an address to bind to is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
