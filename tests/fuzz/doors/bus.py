"""NATS: requests, commands, questions in SQL, and messages put straight into the streams."""

import asyncio
from functools import cache
from random import Random
from typing import Any, Final

import msgspec
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js.errors import Error as JetStreamError

from driftloop.contracts import codec, headers
from driftloop.contracts.batches import QUARANTINED, encode
from driftloop.contracts.event import Event
from driftloop.modelspec.check import check
from tests.fuzz import mutate
from tests.fuzz.case import SECONDS, TARGET, Case, Result
from tests.fuzz.doors import bodies
from tests.fuzz.doors.predict import question
from tests.support import synthetic
from tests.support.loop import scored
from tests.support.scored import scored_batch
from tests.support.serving import mixed_spec
from tests.unit.registry.keeper import Keeper

NATS_LINE: Final = 4_000
HEADERS: Final = (
    "content-type",
    "dl-batch",
    "dl-rows",
    "dl-total",
    "dl-low",
    "dl-read",
    "dl-input",
    "dl-reason",
    "dl-origin",
    "dl-correlation",
    "ce-id",
    "ce-time",
    "ce-source",
    "traceparent",
    "timeout",
    "x",
)
BLOCKS: Final = (
    b"NATS/1.0\r\n\r\n",
    b"NATS/1.0\r\ncontent-type\r\n\r\n",
    b"NATS/1.0\r\n: x\r\n\r\n",
    b"NATS/1.0\r\ncontent-type: application/json\r\ncontent-type: text/csv\r\n\r\n",
    b"NATS/1.0 503 no\r\n\r\n",
    b"NATS/1.0 100 Idle\r\n\r\n",
    b"NATS/1.0\r\n\xff\xfe: \xff\r\n\r\n",
    b"NATS/1.0\r\ndl-batch: " + b"k" * 3_000 + b"\r\n\r\n",
    b"NATS/1.0\n\n",
    b"NATS/1.0\r\n\r\n\r\n\r\n",
)


def on_the_wire(name: str) -> str:
    """A name as it can stand in a subject at all: the broker takes no line with spaces in it."""
    return (
        "".join(ch for ch in name if ch.isprintable() and ch != " ")
        .encode("utf-8", "replace")
        .decode()[:300]
        or "x"
    )


def some_headers(random: Random, kind: str) -> tuple[tuple[str, str], ...]:
    """The content type, and others that mean something or nothing."""
    told = random.choice(bodies.TYPES) if random.random() < 0.08 else kind
    made = {"content-type": told} if told or random.random() < 0.5 else {}
    for _ in range(random.choice((0, 0, 0, 1, 2))):
        text = mutate.text(random).replace("\r", " ").replace("\n", " ").replace("\0", " ")
        made[random.choice(HEADERS)] = text.encode("utf-8", "replace").decode() or "-"
    return tuple(made.items())


async def asked(scene: Any, case: Case) -> Result:
    """Send a request, and judge the answer by the error that travels in its header."""
    try:
        if case.method == "RAW":
            message = await _raw(scene, case)
        else:
            message = await scene.nc.request(
                case.target, case.body, timeout=SECONDS, headers=dict(case.headers) or None
            )
    except NoRespondersError:
        return Result("refused")
    except (NatsError, ValueError) as error:
        if isinstance(error, TimeoutError):
            return Result("closed", f"no answer within {SECONDS:g} s")
        return Result("refused")  # by the client or the broker
    kind = (message.headers or {}).get("dl-error", "")
    if kind in ("Overloaded", "Retry", "NotLoaded"):
        return Result("busy")
    if kind == "DriftloopError" or b"internal error" in message.data[:2_000]:
        return Result("refused", f"{kind}: {message.data[:300]!r}")
    return Result("refused" if kind else "taken")


async def _raw(scene: Any, case: Case) -> Any:
    """The same with a block of headers as it is: the first bytes of the body up to the blank line.

    Raises `TimeoutError`.
    """
    block, _, payload = case.body.partition(b"\r\n\r\n")
    block += b"\r\n\r\n"
    inbox = scene.nc.new_inbox()
    heard = await scene.nc.subscribe(inbox, max_msgs=1)
    await scene.nc.flush()
    sizes = len(block), len(block) + len(payload)
    line = b"HPUB %b %b %d %d\r\n%b%b\r\n" % (
        case.target.encode(),
        inbox.encode(),
        *sizes,
        block,
        payload,
    )
    await scene.bus.connection.write([line])
    return await heard.next_msg(timeout=SECONDS)


class Requests:
    """`ingest.{model}.rows`, `ingest.{model}.labels` and `infer.{model}`."""

    name = "nats-requests"
    share = 0.1
    at_once = 4

    def make(self, random: Random) -> Case:
        """A payload of any format, with headers that may be another's."""
        name = on_the_wire(bodies.model(random))
        what = random.choice(("rows", "labels", "infer"))
        kind = random.choice((bodies.JSON, bodies.ARROW, bodies.ARROW, bodies.MSGPACK, bodies.CSV))
        if what == "infer":
            body, subject = question(random, kind), f"infer.{name}"
        else:
            tree = mutate.tree(random, bodies.rows(random, what))
            made = tree if isinstance(tree, list) else [tree]
            body = (
                bodies.packed(tree) if kind == bodies.MSGPACK else bodies.typed(random, made, kind)
            )
            if kind == bodies.ARROW or random.random() < 0.2:
                body = mutate.raw(random, body, bodies.arrows())
            subject = f"ingest.{name}.{what}"
        if random.random() < 0.05:
            block = random.choice(BLOCKS)
            block = block if random.random() < 0.5 else mutate.raw(random, block)[:NATS_LINE]
            block = block.replace(b"\r\n\r\n", b"\r\n") + b"\r\n\r\n"
            return Case(how="headers", method="RAW", target=subject, body=block + body)
        return Case(how=what, target=subject, headers=some_headers(random, kind), body=body)

    async def send(self, scene: Any, case: Case) -> Result:
        """Ask."""
        return await asked(scene, case)


@cache
def _spec() -> Any:
    return msgspec.to_builtins(check(mixed_spec(TARGET)))


class Commands:
    """`command.{model}`: what an operator may want."""

    name = "nats-commands"
    share = 0.04
    at_once = 2

    def make(self, random: Random) -> Case:
        """Any command; those that register have a changed spec."""
        made: dict[str, Any] = {
            "command": random.choice(("retrain", "promote", "rollback", "challenge", "register")),
            "by": "fuzz",
            "version": random.choice((0, 1, 2, 3, -1, 2**40)),
            "reason": "because",
            "request": f"r{random.randrange(10**6)}",
        }
        if made["command"] == "register":
            made["spec"] = bodies.packed(mutate.tree(random, _spec(), 2))
        tree = made if random.random() < 0.4 else mutate.tree(random, made, 2)
        body = bodies.packed(tree)
        if random.random() < 0.2:
            body = mutate.raw(random, body)
        name = bodies.model(random)
        return Case(how=str(made["command"]), target=f"command.{on_the_wire(name)}", body=body)

    async def send(self, scene: Any, case: Case) -> Result:
        """Ask."""
        return await asked(scene, case)


QUESTIONS: Final = (
    "SELECT count() FROM scored FINAL WHERE model = 'target'",
    "SELECT * FROM rows_valid LIMIT 3",
    "WITH 1 AS x SELECT x, [1, 2], map('a', 1), NULL, 'é' AS `a b`",
    "SELECT event_id, answer[1] FROM scored ORDER BY event_time DESC LIMIT 5",
    "SHOW TABLES",
    "DESCRIBE scored",
    "EXPLAIN SELECT 1",
    "EXISTS TABLE scored",
    "SELECT number FROM numbers(5)",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "DESCRIBE file('/etc/passwd')",
    "SELECT 1 INTO OUTFILE '/tmp/x'",
    "INSERT INTO scored SELECT * FROM scored",
    "DROP TABLE scored",
    "SET readonly = 0",
    "SELECT 1; SELECT 2",
    "SELECT 1 SETTINGS max_memory_usage = 0",
    "SELECT sleep(1)",
    "SELECT * FROM system.tables",
    "SELECT throwIf(1)",
    "SELECT toString(1) FORMAT Null",
    "SELECT /* */ 1 -- x",
)
PARTS: Final = (
    *("SELECT", "(", ")", "'", "`", "*", ",", " FROM ", "scored", "1", "--", "/*", ";", "\0", "é"),
    *("NULL", "::", "x" * 500, "((((" * 200, " UNION ALL SELECT 1", "9" * 40),
)


def sql(random: Random) -> str:
    """A question, whole or changed."""
    made = random.choice(QUESTIONS)
    for _ in range(random.choice((0, 1, 1, 2))):
        at = random.randrange(len(made) + 1)
        made = made[:at] + random.choice(PARTS) + made[at + random.choice((0, 0, 3, 10)) :]
    return made


class Sql:
    """`query.sql` over NATS, and `POST /v1/sql`."""

    name = "sql"
    share = 0.02
    at_once = 1

    def make(self, random: Random) -> Case:
        """A question; the message around it is changed sometimes."""
        query: Any = {"sql": sql(random), "max_rows": random.choice((0, 1, 1_000, -1, 2**63))}
        if random.random() < 0.2:
            query = mutate.tree(random, query, 2)
        if random.random() < 0.5:
            body = mutate.written(random, query)
            return Case(how="http", target="/v1/sql", body=body)
        return Case(how="nats", target="query.sql", body=bodies.packed(query))

    async def send(self, scene: Any, case: Case) -> Result:
        """Ask."""
        from tests.fuzz.doors.ingest import post

        return await (post(scene, "telemetry", case) if case.how == "http" else asked(scene, case))


@cache
def said_events() -> tuple[Event, ...]:
    """One of nearly every kind, about the target."""
    keeper = Keeper()
    events: list[Any] = [event for event, _ in synthetic.promotion(TARGET, 3)]
    events += keeper.hear(keeper.accumulated(500))
    events += [keeper.started(), keeper.failed(), keeper.rejected(), keeper.accumulated(100)]
    events += keeper.hear(keeper.trained()) + keeper.hear(keeper.approved())
    events += [keeper.degraded(), keeper.drift()]
    return tuple(msgspec.structs.replace(event, model=TARGET) for event in events)


@cache
def _batches() -> dict[str, tuple[bytes, ...]]:
    import pyarrow as pa

    quarantined = pa.RecordBatch.from_pylist(
        [{"event_id": "q", "event_time": 0, "reason": "r", "row": "{}"}], schema=QUARANTINED
    )
    valid = scored_batch(3).select(["event_id", "event_time", "key", "features"])
    return {
        "valid": (encode(valid), *bodies.arrows()),
        "received": bodies.arrows(),
        "quarantined": (encode(quarantined),),
        "labels": (bodies.arrows()[4],),
        "scored": (
            encode(scored_batch(3, shadows=(2,))),
            encode(scored(["t1", "t2"], version=1, chances=[0.5, 0.6])),
        ),
    }


class Streams:
    """Messages that nobody checked, where the services read: they are to leave them out.

    `OUTCOMES` is not among them: it has one writer, whose headers are its successor's memory.
    """

    name = "nats-streams"
    share = 0.06
    at_once = 4

    def make(self, random: Random) -> Case:
        """A message of any stream; of rows whole batches of another kind as well."""
        name = random.choice((TARGET,) * 18 + ("bare", "nobody"))
        what = random.choice(
            (
                "received",
                "valid",
                "quarantined",
                "labels",
                "scored",
                "event",
                "event",
                "stat",
            )
        )
        if what in ("event", "stat"):
            return self._packed(random, name, what)
        kept = _batches()
        every = [body for some in kept.values() for body in some]
        body = random.choice(kept[what] if random.random() < 0.8 else every)
        if random.random() < 0.8:
            body = mutate.raw(random, body, every)
        return Case(
            how=what,
            target=self._subject(random, what, name),
            headers=some_headers(random, headers.ARROW),
            body=body,
        )

    def _subject(self, random: Random, what: str, name: str) -> str:
        odd = on_the_wire(random.choice(mutate.NAMES)).replace(".", "-")
        name = odd if random.random() < 0.03 else name
        return {
            "labels": f"labels.{name}.received.0",
            "scored": f"scored.{name}.0",
        }.get(what, f"rows.{name}.{what}.{random.choice('0001x')}")

    def _packed(self, random: Random, name: str, what: str) -> Case:
        if what == "event":
            event = random.choice(said_events())
            tree = msgspec.msgpack.decode(codec.encode(event))  # type: ignore[arg-type]
            subject = f"events.{name}.{event.kind}"
        else:
            stat = random.choice(
                (
                    synthetic.join(name, 5),
                    synthetic.evidence(name, 1, 5),
                    synthetic.service(name, 0, 0),
                )
            )
            tree = msgspec.msgpack.decode(codec.encode(stat))
            subject = f"stats.{stat.kind}.{name}"
        if random.random() < 0.75:
            tree = mutate.tree(random, tree, 2)
        body = bodies.packed(tree)
        if random.random() < 0.2:
            body = mutate.raw(random, body)
        return Case(
            how=what, target=subject, headers=some_headers(random, headers.MSGPACK), body=body
        )

    async def send(self, scene: Any, case: Case) -> Result:
        """Publish it, and go on: what becomes of it shows in the logs and in the good rows."""
        try:
            await scene.bus.connection.js.publish(
                case.target, case.body, timeout=SECONDS, headers=dict(case.headers) or None
            )
        except (NatsError, JetStreamError, ValueError):
            return Result("refused")  # by the client or the broker
        await asyncio.sleep(0)
        return Result("taken")
