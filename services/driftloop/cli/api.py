"""The operator API as commands use it: one call at a time, errors named by what to change."""

import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from driftloop.cli.exits import Exit, Stop
from driftloop.contracts.errors import (
    DriftloopError,
    InvalidInput,
    Outdated,
    Reject,
    Retry,
    UnknownModel,
)

if TYPE_CHECKING:
    import httpx

SECONDS: Final = 20.0
"""How long an answer may take: the console itself waits 15 s for the registry."""
STREAM_SECONDS: Final = 10.0
"""How long the stream may be silent; the console says something each second."""
_ERRORS: Final[dict[int, type[DriftloopError]]] = {
    404: UnknownModel,
    409: Outdated,
    422: InvalidInput,
    429: Retry,
    503: Retry,
    504: Retry,
}

T = TypeVar("T")


class Api:
    """A console at an address, asked with a token or without."""

    def __init__(self, console: str, token: str = "", seconds: float = SECONDS) -> None:
        self._console = console.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._seconds = seconds
        if not self._console.startswith(("http://", "https://")):
            raise InvalidInput(
                f"--console: {console!r} is no address; accepted: http://HOST:PORT or https://..."
            )

    def get(self, path: str, kind: type[T], query: Mapping[str, str | int] | None = None) -> T:
        """The answer to a GET; raises as `answered`."""
        return self._ask("GET", path, kind, params=dict(query or {}))

    def post(self, path: str, body: Any, kind: type[T]) -> T:
        """The answer to a POST of a JSON body; raises as `answered`."""
        content = msgspec.json.encode(body)
        return self._ask("POST", path, kind, content=content, headers=_JSON)

    def _ask(self, method: str, path: str, kind: type[T], **more: Any) -> T:
        import httpx  # a tenth of a second that `--help` need not wait

        with self._answering(), httpx.Client(timeout=self._seconds, **self._given()) as http:
            return _decoded(answered(http.request(method, path, **more)), kind)

    @asynccontextmanager
    async def stream(self, query: Mapping[str, str]) -> "AsyncIterator[AsyncIterator[Told]]":
        """The messages of `/api/stream`, as they come; raises as `answered`."""
        import httpx

        timeout = httpx.Timeout(self._seconds, read=STREAM_SECONDS)
        with self._answering():
            async with (
                httpx.AsyncClient(timeout=timeout, **self._given()) as http,
                http.stream("GET", "/api/stream", params=query) as answer,
            ):
                if answer.status_code != httpx.codes.OK:
                    await answer.aread()
                    answered(answer)
                yield _messages(answer)

    def _given(self) -> dict[str, Any]:
        """What every request has: no proxy, and OpenSSL's authorities (`SSL_CERT_FILE`)."""
        secure = self._console.startswith("https:")
        return {
            "base_url": self._console,
            "headers": self._headers,
            "trust_env": False,
            "verify": secure and ssl.create_default_context(),
        }

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """What httpx raises where nobody answers, as an error that says what to do."""
        import httpx

        try:
            yield
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
            raise ConnectionError(
                f"--console: no console answers at {self._console} ({why}); accepted: the address"
                " of a running one (`driftloop up` starts one); `driftloop status` needs none"
            ) from error
        except httpx.InvalidURL as error:
            raise InvalidInput(
                f"--console: {self._console!r}: {error}; accepted: http://HOST:PORT"
            ) from error


Told = tuple[str, bytes]
"""The kind of a server-sent event, and its JSON."""
_JSON: Final = {"content-type": "application/json"}


def answered(answer: "httpx.Response") -> bytes:
    """The body of a good answer.

    Raises what its problem details say: `UnknownModel`, `Outdated`, `InvalidInput` or `Retry`;
    `Stop` where the token is not good enough.
    """
    if answer.is_success:
        return answer.content
    detail = f"{answer.request.method} {answer.request.url.path}: {answer.status_code}"
    with suppress(msgspec.DecodeError, KeyError, TypeError):  # not from the console: no detail
        detail = str(msgspec.json.decode(answer.content)["detail"])
    if answer.status_code in (401, 403):
        told = detail.removeprefix("authorization: ")
        raise Stop(Exit.NO, f"--token: {told}")
    raise _ERRORS.get(answer.status_code, Reject if answer.is_client_error else DriftloopError)(
        detail
    )


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DriftloopError(
            f"--console: {error}; accepted: a console of this version of Driftloop"
        ) from error


async def _messages(answer: "httpx.Response") -> AsyncIterator[Told]:
    """Server-sent events; comments and retries are left out."""
    kind = ""
    async for line in answer.aiter_lines():
        field, _, value = line.partition(":")
        if field == "event":
            kind = value.strip()
        elif field == "data":
            yield kind, value.strip().encode()
