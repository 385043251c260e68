"""ClickHouse on a thread of its own: chDB in this process, or a server by URL.

chDB takes one thread at a time and one process a folder, and has no async client; so one thread
owns both connections, the one that writes and the one that answers questions, which ClickHouse
itself keeps from writing (`readonly`).
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import (
    ClickHouseError,
    DatabaseError,
    OperationalError,
    ProgrammingError,
)

from driftloop.contracts.errors import InvalidInput, Reject, Retry
from driftloop.telemetry.domain.question import HARMLESS, check_question, first_line
from driftloop.telemetry.schema import migrate
from driftloop.telemetry.settings import TelemetrySettings

log = logging.getLogger(__name__)

T = TypeVar("T")
Role = Literal["writer", "reader"]

CONNECT_SECONDS: Final = 5
ANSWER_SECONDS: Final = 20
BAD_DATA: Final = frozenset({6, 25, 26, 27, 33, 41, 53, 70, 117, 321, 349, 407})
"""Codes of ClickHouse that are about the values of an insert: trying again cannot help."""
BUSY: Final = frozenset({202, 209, 210, 242, 243, 252})
"""Codes about the state of ClickHouse (line, load, disk), not about what was asked of it."""
INSERTING: Final = {"optimize_on_insert": 0}
"""Copies within an insert stay, as those of two inserts do: `FINAL` shows one, merges drop them."""


class Unreachable(Retry):
    """ClickHouse does not answer, or cannot do it now."""


class Engine:
    """The tables. Open it first, and again after `Unreachable`."""

    def __init__(self, settings: TelemetrySettings) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clickhouse")
        self._clients: dict[Role, Client] = {}
        self._outreaching: frozenset[str] = frozenset()
        self.embedded = not settings.clickhouse_url

    @property
    def place(self) -> str:
        """Where the tables are, without a password."""
        if self.embedded:
            return f"chDB in {self._settings.path}"
        url = urlsplit(self._settings.clickhouse_url)
        return f"{url.hostname}:{url.port or 8123}"

    async def open(self) -> None:
        """Connect and bring the tables up to date; raises `Unreachable`."""
        await self._run(self._open)

    async def insert(self, table: str, rows: pa.Table) -> None:
        """Insert; returns when ClickHouse has them. Raises `Reject` for values it cannot hold."""
        await self._run(lambda: self._use("writer", lambda c: self._insert(c, table, rows)))

    async def command(self, statement: str) -> None:
        """Carry out a statement of ours; raises `Reject` if ClickHouse will not have it."""
        await self._run(lambda: self._command(statement))

    async def views(self) -> dict[str, str]:
        """The views there are, with their comments."""
        listed = (
            "SELECT name, comment FROM system.tables"
            " WHERE database = currentDatabase() AND engine = 'View'"
        )
        rows = await self._run(lambda: self._use("writer", lambda c: c.query(listed).result_rows))
        return {str(name): str(comment) for name, comment in rows}

    async def ask(self, sql: str) -> pa.Table:
        """The answer to somebody's question; raises `InvalidInput` with what is wrong with it."""
        return await self._run(lambda: self._ask(sql))

    async def ping(self) -> None:
        """Raise `Unreachable` if ClickHouse does not answer.

        chDB gives back memory it has freed meanwhile (some ms): its allocator would keep it.
        """
        asked = "SYSTEM JEMALLOC PURGE" if self.embedded else "SELECT 1"
        await self._run(lambda: self._use("writer", lambda c: c.command(asked)))

    async def disk(self) -> tuple[int, int]:
        """Bytes free and in all of the disk that has the least room; raises `Unreachable`."""
        asked = "SELECT free_space, total_space FROM system.disks ORDER BY free_space LIMIT 1"
        rows = await self._run(lambda: self._use("writer", lambda c: c.query(asked).result_rows))
        return int(rows[0][0]), int(rows[0][1])

    async def close(self) -> None:
        """Finish what is under way and disconnect."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def _run(self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, work)
        except DatabaseError as error:
            if error.code in BAD_DATA:
                raise Reject(first_line(str(error))) from error
            raise Unreachable(f"ClickHouse: {first_line(str(error))}", delay=2.0) from error
        except (ClickHouseError, OSError) as error:
            raise Unreachable(f"ClickHouse: {first_line(str(error))}", delay=2.0) from error

    def _command(self, statement: str) -> None:
        try:
            self._use("writer", lambda c: c.command(statement))
        except DatabaseError as error:
            if _busy(error):
                raise
            raise Reject(first_line(str(error))) from error

    def _open(self) -> None:
        self._close()
        self._clients["writer"] = self._connect("writer")
        self._use("writer", migrate)
        self._clients["reader"] = self._connect("reader")
        listed = "SELECT name FROM system.table_functions"
        found = self._use("writer", lambda c: c.query(listed).result_columns)
        self._outreaching = frozenset(n.lower() for n in found[0] if n not in HARMLESS)

    def _limits(self) -> dict[str, Any]:
        """What a question may do and cost; `readonly` is last: nothing can be set after it."""
        return {
            "max_execution_time": self._settings.query_seconds,
            "max_memory_usage": self._settings.query_memory_mb << 20,
            "max_result_rows": self._settings.query_rows,
            "result_overflow_mode": "break",
            "enable_extended_results_for_datetime_functions": 1,
            "readonly": 1,
        }

    def _connect(self, role: Role) -> Client:
        settings = self._limits() if role == "reader" else {}
        if self.embedded:
            return self._embedded(settings)
        return clickhouse_connect.get_client(
            dsn=self._settings.clickhouse_url,
            settings=settings,
            connect_timeout=CONNECT_SECONDS,
            send_receive_timeout=ANSWER_SECONDS,
        )

    def _embedded(self, settings: dict[str, Any]) -> Client:
        path = Path(self._settings.path)
        path.mkdir(parents=True, exist_ok=True)
        try:
            return clickhouse_connect.get_client(
                interface="chdb", path=str(path), settings=settings
            )
        except ProgrammingError as error:
            cause = f"cannot open {path}: is another process using it? ({first_line(str(error))})"
            raise Unreachable(cause, delay=2.0) from error

    def _ask(self, sql: str) -> pa.Table:
        try:
            question = check_question(self._parsed(sql), self._outreaching)
            return self._use("reader", lambda c: _table(c.raw_query(question, fmt="ArrowStream")))
        except DatabaseError as error:
            if _busy(error):
                raise
            raise InvalidInput(f"sql: {first_line(str(error))}") from error
        except pa.ArrowException as error:
            raise InvalidInput("sql: gives no table; accepted: a statement with rows") from error

    def _parsed(self, sql: str) -> str:
        """`sql` as ClickHouse's parser understood it: one statement, without comments."""
        parse = "SELECT formatQuerySingleLine({sql:String})"
        parsed = self._use("writer", lambda c: c.query(parse, parameters={"sql": sql}).result_rows)
        return str(parsed[0][0])

    def _use(self, role: Role, work: Callable[[Client], T]) -> T:
        """Work with a connection, which is made anew if it fails.

        chDB gives an empty answer to the question that follows one that failed half-way.
        """
        client = self._clients.get(role)
        if client is None:
            raise Unreachable(f"ClickHouse ({self.place}) is not open yet", delay=2.0)
        try:
            return work(client)
        except (DatabaseError, pa.ArrowException):
            if self.embedded:
                self._clients[role] = self._connect(role)
                client.close()
            raise

    def _insert(self, client: Client, table: str, rows: pa.Table) -> None:
        """As `client.insert_arrow` does, with a copy less and in the form that is read as it comes.

        https://clickhouse.com/docs/interfaces/formats/ArrowStream
        """
        sink = pa.BufferOutputStream()
        packed = pa.ipc.IpcWriteOptions(compression=None if self.embedded else "lz4")
        with pa.ipc.new_stream(sink, rows.schema, options=packed) as writer:
            writer.write_table(rows)
        client.raw_insert(
            table,
            rows.schema.names,
            memoryview(sink.getvalue()),  # type: ignore[arg-type]  # any bytes-like is written
            settings=INSERTING,
            fmt="ArrowStream",
        )

    def _close(self) -> None:
        clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()


def _table(stream: bytes) -> pa.Table:
    with pa.ipc.open_stream(stream) as reader:
        return reader.read_all()


def _busy(error: DatabaseError) -> bool:
    return isinstance(error, OperationalError) or error.code is None or error.code in BUSY
