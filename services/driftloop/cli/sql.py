"""`sql`: a question to the tables of telemetry."""

import sys
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from driftloop.cli import output
from driftloop.cli.options import DEFAULT_URL, Json, Url
from driftloop.cli.session import visit
from driftloop.contracts import requests

if TYPE_CHECKING:
    import pyarrow as pa

    from driftloop.bus.bus import Bus

Statement = Annotated[
    str, typer.Argument(metavar="SQL", help='A read-only statement, e.g. "SHOW TABLES".')
]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Most = Annotated[int, typer.Option("--limit", min=1, help="At most so many rows.")]
Wait = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the answer.")]


def sql(
    statement: Statement,
    json: Json = False,
    csv: Csv = False,
    limit: Most = 10_000,
    timeout: Wait = 60.0,
    url: Url = DEFAULT_URL,
) -> None:
    """Ask ClickHouse, for example `driftloop sql "SELECT count() FROM outcomes FINAL"`."""

    async def work(bus: "Bus") -> "pa.RecordBatch":
        from driftloop.contracts.batches import decode

        query = msgspec.msgpack.encode(requests.SqlQuery(sql=statement, max_rows=limit))
        return decode((await bus.ask(requests.QUERY_SQL, query, timeout=timeout)).payload)

    found = visit(url, work)
    if json:
        output.as_json(found.to_pylist())
    elif csv:
        _csv(found)
    else:
        columns = found.schema.names
        numbers = [field.name for field in found.schema if _numeric(field)]
        output.table(
            columns, ([_cell(v) for v in row.values()] for row in found.to_pylist()), numbers
        )


def _csv(found: "pa.RecordBatch") -> None:
    from pyarrow import csv as arrow_csv

    arrow_csv.write_csv(found, sys.stdout.buffer)


def _numeric(field: "pa.Field") -> bool:
    import pyarrow as pa

    kind = field.type
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _cell(value: object) -> str:
    if value is None:
        return "NULL"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
