"""Rows and labels over HTTP: four formats, packed or not, in one piece or in chunks."""

import gzip
from random import Random
from typing import Any

import pyarrow as pa

from tests.fuzz import mutate
from tests.fuzz.case import Case, Result, judged
from tests.fuzz.doors import bodies
from tests.fuzz.http import framed


class Ingest:
    """`POST /v1/models/{model}/rows` and `/labels`."""

    name = "http-ingest"
    share = 0.15
    at_once = 6

    def make(self, random: Random) -> Case:
        """A body of any format, changed as a tree, as bytes, or in how it is packed."""
        what = random.choice(("rows", "rows", "rows", "labels"))
        kind = random.choice((bodies.JSON, bodies.NDJSON, bodies.CSV, bodies.ARROW))
        good = bodies.rows(random, what)
        wrapped: Any = random.choice((good, good, {what: good}, good[0]))
        tree = mutate.tree(random, wrapped if kind == bodies.JSON else good)
        body = bodies.typed(random, tree if isinstance(tree, list) else [tree], kind)
        if kind == bodies.JSON and not isinstance(tree, list):
            body = mutate.written(random, tree)
        if kind == bodies.ARROW or random.random() < 0.2:
            body = mutate.raw(random, body, bodies.arrows())
        headers, body = self._packed(random, kind, body)
        path = f"/v1/models/{bodies.in_path(random, bodies.model(random))}/{what}"
        return Case(how=kind, target=path, headers=headers, body=body)

    def _packed(
        self, random: Random, kind: str, body: bytes
    ) -> tuple[tuple[tuple[str, str], ...], bytes]:
        told = random.choice(bodies.TYPES) if random.random() < 0.1 else kind
        headers = [("content-type", told)]
        if random.random() < 0.2:
            key = random.choice(("k1", "k1", str(random.randrange(10**9)), mutate.text(random)))
            headers.append(("idempotency-key", _line(key)))
        if random.random() < 0.15:
            coding = random.choice(("gzip", "zstd", "deflate", "br", "identity", "gzip, gzip"))
            if coding.startswith("gzip"):
                body = gzip.compress(body, 1)
            elif coding == "zstd":
                body = pa.compress(body, codec="zstd", asbytes=True)
            if random.random() < 0.4:
                body = mutate.raw(random, body)
            headers.append(("content-encoding", coding))
        if random.random() < 0.1:
            headers.append((random.choice(("x-a", "accept", "origin")), _line(mutate.text(random))))
        if random.random() < 0.15:
            headers.append(("fuzz-chunks", str(random.choice((1, 7, 100)))))
        return tuple(headers), body

    async def send(self, scene: Any, case: Case) -> Result:
        """Send it with a framing that is right."""
        return await post(scene, "ingest", case)


async def post(scene: Any, service: str, case: Case) -> Result:
    """Send a case to a service's HTTP door; `fuzz-chunks` is how, and no header."""
    chunks = tuple(int(told) for name, told in case.headers if name == "fuzz-chunks")
    headers = tuple(pair for pair in case.headers if pair[0] != "fuzz-chunks")
    if chunks:
        chunks *= min(200, len(case.body) // chunks[0])
    data = framed(case.method, case.target, headers, case.body, chunks)
    answer = await scene.http.ask(scene.ports[service], data, head_only=case.method == "HEAD")
    if answer.status == 0:
        return Result("closed", "the connection was closed without an answer")
    if answer.status == 503 and "/ready" in case.target:  # a model that was unloaded is not
        return Result("taken")
    return judged(answer.status, answer.headers, answer.body)


def _line(told: str) -> str:
    """A text that can stand in a header line: what breaks lines is a matter of the heads' door."""
    return (
        "".join(ch for ch in told[:300] if ch not in "\r\n\0")
        .encode("utf-8", "replace")
        .decode("latin-1")
        .strip()
    )
