"""The page that takes a token from a person and gives it to the browser as a cookie."""

from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from driftloop.contracts.errors import DriftloopError
from driftloop.runtime.access import OPEN, Access, Rules, bearer
from driftloop.runtime.problems import NotPermitted, problem, read_body, status_of

STATIC: Final = Path(__file__).parent / "static"
POLICY: Final = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with none a browser sends `origin: null` with the form
    "cache-control": "no-cache",
}
LOGIN: Final = "/login"
LOGOUT: Final = "/logout"
COOKIE: Final = "driftloop-token"
MOST_BYTES: Final = 4_096
PLACE: Final = "<!--said-->"
RULES: Final[Rules] = {f"GET {LOGIN}": OPEN, f"POST {LOGIN}": OPEN, f"POST {LOGOUT}": OPEN}


def add_login(app: FastAPI, access: Access) -> None:
    """Add `GET` and `POST /login`, and `POST /logout`."""

    @app.get(LOGIN, include_in_schema=False)
    async def page() -> Response:
        return _page("") if access.required else RedirectResponse("/", 303)

    @app.post(LOGIN, include_in_schema=False)
    async def login(request: Request) -> Response:
        if refused := foreign(request):
            return refused
        body = await read_body(request, MOST_BYTES)
        given = parse_qs(body.decode("latin-1")).get("token", [""])[0].strip()
        if access.required:
            try:
                access.admit(bearer(given), frozenset(("read",)))
            except DriftloopError as error:
                return _page(_said(error), status_of(error))
        answer = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, given, httponly=True, samesite="strict", secure=secure)
        return answer

    @app.post(LOGOUT, include_in_schema=False)
    async def logout(request: Request) -> Response:
        if refused := foreign(request):
            return refused
        answer = RedirectResponse(LOGIN, 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer


def foreign(request: Request) -> Response | None:
    """The refusal of a request that another page sends; None for one that may go on."""
    if same_origin(request.headers.get("origin"), request.headers.get("host", "")):
        return None
    return problem(403, f"origin: {request.headers['origin'][:200]!r}; accepted: this page's own")


def same_origin(origin: str | None, host: str) -> bool:
    """Whether a request comes from this page, or from no page at all."""
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc == host
    except ValueError:  # such as `http://[`
        return False


def _said(error: DriftloopError) -> str:
    """Why a token was not taken; nothing of what was typed is shown again."""
    if isinstance(error, NotPermitted):
        return "This token may not read."
    if status_of(error) == 401:
        return "This token is not known, is revoked, or has expired."
    return "The tokens cannot be read now. Try again."


def _page(said: str, status: int = 200) -> Response:
    text = (STATIC / "login.html").read_text().replace(PLACE, said)
    return HTMLResponse(text, status, HEADERS | {"cache-control": "no-store"})
