"""Predictions over HTTP: rows as JSON, MessagePack or Arrow, and the options in the query."""

from random import Random
from typing import Any
from urllib.parse import quote

from tests.fuzz import mutate
from tests.fuzz.case import Case, Result
from tests.fuzz.doors import bodies
from tests.fuzz.doors.ingest import post
from tests.fuzz.scene import ROWS
from tests.support.serving import matrix_of_rows

OPTIONS = ("top_k", "version", "explain", "probabilities", "colour", "event_ids", "timeout", "")
VALUES = ("1", "2", "true", "0", "-1", "x", "9" * 30, "1e9", "", "NaN", "*", "é")


class Predict:
    """`POST /v1/models/{model}/predict`."""

    name = "http-predict"
    share = 0.14
    at_once = 6

    def make(self, random: Random) -> Case:
        """A question in one of three formats."""
        kind = random.choice((bodies.JSON, bodies.JSON, bodies.MSGPACK, bodies.ARROW))
        body = question(random, kind)
        told = random.choice(bodies.TYPES) if random.random() < 0.07 else kind
        path = f"/v1/models/{bodies.in_path(random, bodies.model(random))}/predict"
        if random.random() < 0.25:
            asked = [
                f"{random.choice(OPTIONS)}={quote(random.choice(VALUES))}"
                for _ in range(random.randint(1, 3))
            ]
            path += "?" + "&".join(asked)
        headers: tuple[tuple[str, str], ...] = (("content-type", told),)
        if random.random() < 0.1:
            headers += (("fuzz-chunks", "50"),)
        return Case(how=kind, target=path, headers=headers, body=body)

    async def send(self, scene: Any, case: Case) -> Result:
        """Ask."""
        return await post(scene, "inference", case)


def question(random: Random, kind: str) -> bytes:
    """A changed question for predictions."""
    if kind == bodies.ARROW:
        return mutate.raw(random, random.choice(bodies.arrows()), bodies.arrows())
    matrix = matrix_of_rows(ROWS).tolist()
    good = random.choice(({"rows": ROWS}, ROWS, ROWS[0], {"inputs": matrix}))
    tree = mutate.tree(random, good)
    body = bodies.packed(tree) if kind == bodies.MSGPACK else mutate.written(random, tree)
    return mutate.raw(random, body) if random.random() < 0.2 else body
