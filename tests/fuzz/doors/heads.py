"""Bytes that may be no request at all, at every HTTP port."""

from random import Random
from typing import Any, Final

from tests.fuzz import mutate
from tests.fuzz.case import TARGET, Case, Result, judged
from tests.fuzz.http import framed

BODY: Final = b'{"rows": [{"distance": 1, "hour": 1}]}'
PATHS: Final = {
    "inference": (f"/v1/models/{TARGET}/predict", f"/v2/models/{TARGET}/infer", "/v2"),
    "ingest": (f"/v1/models/{TARGET}/rows",),
    "telemetry": ("/v1/sql", "/metrics"),
    "console": ("/api/state", "/static/../../etc/passwd", f"/api/models/{TARGET}/retrain"),
    "registry": ("/readyz",),
}
LINES: Final = (
    b"transfer-encoding: chunked",
    b"transfer-encoding: gzip, chunked",
    b"transfer-encoding: chunked, chunked",
    b"transfer-encoding: identity",
    b"content-length: 5",
    b"content-length: +5",
    b"content-length: -1",
    b"content-length: 99999999999999999999999",
    b"content-length: 5, 5",
    b"expect: 100-continue",
    b"expect: what",
    b"connection: upgrade\r\nupgrade: h2c",
    b"upgrade: websocket\r\nsec-websocket-key: x",
    b"host: a\r\nhost: b",
    b" folded",
    b"no colon",
    b"name : space",
    b": empty",
    b"x: " + b"y" * 70_000,
    b"x\0y: z",
    b"x: \xff\xfe",
    b"\r\r",
)
FIRST: Final = (
    b"GET / HTTP/1.0",
    b"GET / HTTP/2.0",
    b"GET / HTTP/1.1 x",
    b"PRI * HTTP/2.0",
    b"GET",
    b"get / http/1.1",
    b"GET http://x/ HTTP/1.1",
    b"CONNECT a:1 HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"POST /" + b"a" * 70_000 + b" HTTP/1.1",
    b"POST /%zz%00%2e%2e HTTP/1.1",
    b"POST /\xff HTTP/1.1",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"",
)


class Heads:
    """Requests whose head or framing is wrong, one a connection."""

    name = "http-heads"
    share = 0.1
    at_once = 6

    def make(self, random: Random) -> Case:
        """A good request whose lines, chunks or bytes are changed; two in a row sometimes."""
        service = random.choice((*["inference"] * 5, *["ingest"] * 3, *list(PATHS)))
        method = random.choice(("POST", "POST", "GET", "HEAD", "PUT", "BREW"))
        path = random.choice(PATHS[service])
        headers = (("content-type", "application/json"),)
        chunks = (random.choice((1, 5, 30)),) * 5 if random.random() < 0.4 else ()
        data = framed(method, path, headers, BODY, chunks)
        match random.randrange(5):
            case 0:
                data = self._line(random, data)
            case 1:
                data = random.choice(FIRST) + data[data.index(b"\r\n") :]
            case 2:
                data = mutate.raw(random, data, (BODY, *LINES))
            case 3:
                data = mutate.raw(random, self._line(random, data))
            case _:
                data += mutate.raw(random, framed("GET", "/healthz", (), b""), LINES)
        return Case(how=service, body=data)

    def _line(self, random: Random, data: bytes) -> bytes:
        lines = data.split(b"\r\n")
        end = lines.index(b"")
        at = random.randrange(1, end + 1)
        lines[at:at] = [random.choice(LINES)]
        return b"\r\n".join(lines)

    async def send(self, scene: Any, case: Case) -> Result:
        """Send it on a connection of its own, and hang up."""
        answer = await scene.http.once(scene.ports[case.how], case.body)
        if answer.status == 0:
            return Result("closed")
        if answer.status == 501:  # RFC 9110, section 9.1 and RFC 9112, section 6.1
            return Result("refused")
        if answer.status == 505:
            return Result("refused")
        return judged(answer.status, answer.headers, answer.body)
