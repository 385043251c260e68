"""Single requests over HTTP, one row each, and whether their answers are right."""

import http.client
import time
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import msgspec
import numpy as np

from driftloop.local.bench import bodies
from driftloop.local.bench.answers import TOLERANCE, numbers
from driftloop.local.bench.many.models import Known

SECONDS: Final = 30.0


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Requests by how they went; latencies (ms) of those that were answered, in order."""

    failed: int
    wrong: int
    problem: str
    ms: list[float]


def ask(address: str, models: Iterable[Known], seed: int = 0, pause: float = 0.0) -> Asked:
    """Ask each model for one row, over one connection, `pause` seconds apart."""
    place = urlsplit(address)
    line = http.client.HTTPConnection(place.hostname or "", place.port, timeout=SECONDS)
    failed, wrong, problem = 0, 0, ""
    taken: list[float] = []
    for at, model in enumerate(models):
        row = model.rows(1, seed + at)
        made = bodies.requests("v2", model.name, [row.astype(np.float64)])
        if pause:
            time.sleep(pause)
        began = time.perf_counter()
        try:
            line.request("POST", f"/v2/models/{model.name}/infer", made.bodies[0], made.headers)
            answer = line.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            failed, problem = failed + 1, f"{model.name}: {error}"
            line.close()
            continue
        took = time.perf_counter() - began
        if answer.status != http.client.OK:
            failed, problem = failed + 1, f"{model.name}: {answer.status} {body[:200]!r}"
            continue
        taken.append(1e3 * took)
        found = numbers("v2", {k.lower(): v for k, v in answer.getheaders()}, body, 1)
        if abs(found[0, 1] - model.expected(row)[0]) > TOLERANCE:
            wrong, problem = wrong + 1, f"{model.name}: answers {found[0, 1]}"
    line.close()
    return Asked(failed=failed, wrong=wrong, problem=problem, ms=taken)
