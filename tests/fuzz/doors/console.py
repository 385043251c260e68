"""What the page of the console asks, and the orders of an operator."""

from random import Random
from typing import Any, Final
from urllib.parse import quote

from tests.fuzz import mutate
from tests.fuzz.case import Case, Result
from tests.fuzz.doors import bodies
from tests.fuzz.doors.ingest import post

ORDERS: Final = (
    *("retrain", "challenge", "promote", "rollback", "approve", "deny", "pause", "resume"),
    *("silence", "spec", "spec/check", "register", "x", "*"),
)
LIMITS: Final = ("1", "0", "-1", "1001", "x", "9" * 400, "1e2", "", "é")
GOOD: Final = {
    "reason": "because",
    "version": 2,
    "by": "fuzz",
    "detector": "feature:x",
    "seconds": 60,
}


class Console:
    """`/api/...` of the console."""

    name = "http-console"
    share = 0.05
    at_once = 2

    def make(self, random: Random) -> Case:
        """An order most of the time."""
        if random.random() < 0.3:
            limit, name = quote(random.choice(LIMITS)), bodies.model(random)
            path = random.choice(
                (
                    f"/api/events?limit={limit}&model={quote(name.encode())}",
                    "/api/state",
                    f"/static/{quote(name.encode())}",
                    f"/static/..%2f{quote(name.encode())}",
                    "/favicon.ico",
                    f"/{quote(name.encode())}",
                )
            )
            return Case(how="get", method=random.choice(("GET", "HEAD", "POST")), target=path)
        name = bodies.in_path(random, bodies.model(random))
        body = mutate.written(random, mutate.tree(random, GOOD))
        if random.random() < 0.3:
            body = mutate.raw(random, body)
        headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
        if random.random() < 0.1:
            headers += (("origin", random.choice(("http://fuzz", "http://x", "null", "http://["))),)
        path = f"/api/models/{name}/{quote(random.choice(ORDERS))}"
        return Case(how="order", target=path, headers=headers, body=body)

    async def send(self, scene: Any, case: Case) -> Result:
        """Ask."""
        return await post(scene, "console", case)
