"""An app behind its rules: every request is checked before a handler sees it."""

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send

from driftloop.contracts.errors import DriftloopError
from driftloop.runtime.access.access import REFUSED, Access, Right, bearer
from driftloop.runtime.access.rules import Rule, Rules, ruled
from driftloop.runtime.problems import NotPermitted, explained, problem

_RIGHT: Final = "driftloop.right"
_SAFE: Final = ("GET", "HEAD", "OPTIONS")

Tell = Callable[[DriftloopError, HTTPConnection], Response]
"""Makes the answer of an error, in the form of the door."""


def tell(error: DriftloopError, request: HTTPConnection) -> Response:
    """An error as problem details."""
    return problem(*explained(error, request.url.path))


class Guarded:
    """An ASGI app and its rules. With `cookie`, a browser may bring its token in one of that name.

    A browser sends a cookie along whoever made the page that asks, so a request that changes
    something must then come from a page of this origin. Raises `ValueError` for a route without a
    rule. What no route answers goes to the app, which says so.
    """

    def __init__(
        self, app: Starlette, access: Access, rules: Rules, tell: Tell = tell, cookie: str = ""
    ) -> None:
        self.app = app
        self._access = access
        self._routes = ruled(app, rules)
        self._tell = tell
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "http" and self._access.required:
            try:
                right = self._enter(scope)
            except DriftloopError as error:
                await self._tell(error, HTTPConnection(scope))(scope, receive, send)
                return
            if right is not None:
                scope[_RIGHT] = right
                receive = _counted(receive, right)
        await self.app(scope, receive, send)

    def _enter(self, scope: Scope) -> Right | None:
        rule, model = self._rule(scope)
        if rule is None or not rule.scopes:
            return None
        header = self._header(scope)
        if rule.models == "one":
            return self._access.enter(header, rule.scopes, model, told_size(scope))
        right = self._access.enter(header, rule.scopes, "", told_size(scope))
        if rule.models == "all" and right is not None and right.models is not None:
            raise self._access.refuse_part(right)
        return right

    def _rule(self, scope: Scope) -> tuple[Rule | None, str]:
        """The rule of the route that will answer, found as the app finds it; and the model."""
        for route, by_method in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                method = "GET" if scope["method"] == "HEAD" else scope["method"]
                model = str(found.get("path_params", {}).get("model", ""))
                return by_method.get("") or by_method[method], model
        return None, ""

    def _header(self, scope: Scope) -> bytes:
        """The value of `authorization`, or the same made of the cookie."""
        request = HTTPConnection(scope)
        if given := header_of(request):
            return given
        found = request.cookies.get(self._cookie, "") if self._cookie else ""
        if not found:
            return b""
        if scope["method"] not in _SAFE and not from_own_page(request):
            REFUSED.labels("origin", "").inc()
            origin = request.headers.get("origin", "")
            raise NotPermitted(f"origin: {origin[:200]!r}; accepted: this page's own")
        return bearer(found)


def header_of(request: HTTPConnection) -> bytes:
    """The value of `authorization`; empty where there is none."""
    return next((bytes(v) for name, v in request.scope["headers"] if name == b"authorization"), b"")


def right_of(request: HTTPConnection) -> Right | None:
    """The right a request came in by; None where none was asked for."""
    found = request.scope.get(_RIGHT)
    assert found is None or isinstance(found, Right)
    return found


def from_own_page(request: HTTPConnection) -> bool:
    """Whether a browser says that a page of this origin sends the request."""
    origin = request.headers.get("origin", "")
    return bool(origin) and urlsplit(origin).netloc == request.headers.get("host", "")


def told_size(scope: Scope) -> int:
    """The bytes of the body by `content-length`; 0 where that does not say."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:18])
    return 0


def _counted(receive: Receive, right: Right) -> Receive:
    """The body as it comes, as long as it is not too large for the token."""
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        right.check_size(size)
        return message

    return counted
