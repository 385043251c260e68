"""An HTTP/1.1 server (RFC 9112) for hot routes, with an ASGI app for every other route."""

from driftloop.runtime.http1.exchange import Exchange
from driftloop.runtime.http1.heads import Handler, Head, Router
from driftloop.runtime.http1.limits import Limits
from driftloop.runtime.http1.server import Http1Server
from driftloop.runtime.http1.tls import tls_context

__all__ = ["Exchange", "Handler", "Head", "Http1Server", "Limits", "Router", "tls_context"]
