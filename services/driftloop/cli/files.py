"""Reads a data file as Arrow batches, a block at a time: CSV, Parquet, NDJSON, Arrow.

A CSV file has no types, so its values stay texts, and the contract of the spec reads them: guessing
types from the first block would turn a bad value further down into an unreadable file.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
from pyarrow import csv, parquet

from driftloop.contracts.errors import InvalidInput
from driftloop.modelspec.rows import from_dicts, plain

ROWS: Final = 4_096
BLOCK: Final = 1 << 20
MISSING: Final = ("NaN", "nan", "NA", "N/A", "n/a", "#N/A", "NULL", "null", "None")
"""Texts that stand for a missing number or time in CSV files; an empty value always does."""

Reader = Callable[[Path], Iterator[pa.RecordBatch]]


def read(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a file in batches of at most `ROWS`; raises `InvalidInput`."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        accepted = ", ".join(READERS)
        raise InvalidInput(f"FILE: {path.name!r} has no known ending; accepted: {accepted}")
    try:
        for batch in map(plain, reader(path)):
            for at in range(0, batch.num_rows, ROWS):
                yield batch.slice(at, ROWS)
    except (pa.ArrowException, msgspec.DecodeError, UnicodeDecodeError) as error:
        text = str(error).splitlines()[0]
        raise InvalidInput(
            f"FILE: {path.name} cannot be read ({text}); accepted: {_accepted(path)}"
        ) from error


def sha256(path: Path) -> str:
    """SHA-256 of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def count(path: Path) -> int:
    """How many rows the file has."""
    if path.suffix.lower() in (".parquet", ".pq"):
        return int(parquet.read_metadata(path).num_rows)
    return sum(batch.num_rows for batch in read(path))


def _accepted(path: Path) -> str:
    return {"csv": "CSV with a header line", "ndjson": "one JSON object a line"}.get(
        path.suffix.lower().lstrip("."), f"the format its ending says ({path.suffix})"
    )


def _csv(path: Path) -> Iterator[pa.RecordBatch]:
    blocks = csv.ReadOptions(block_size=BLOCK)
    try:
        with csv.open_csv(path, read_options=blocks) as head:
            names = head.schema.names
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return
        raise
    texts = csv.ConvertOptions(
        column_types={name: pa.string() for name in names},
        null_values=[""],
        strings_can_be_null=True,
    )
    with csv.open_csv(path, read_options=blocks, convert_options=texts) as reader:
        yield from reader


def _parquet(path: Path) -> Iterator[pa.RecordBatch]:
    with parquet.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=ROWS)


def _ndjson(path: Path) -> Iterator[pa.RecordBatch]:
    with path.open("rb") as file:
        given = (line for line in file if line.strip())
        while block := list(itertools.islice(given, ROWS)):
            yield from_dicts([msgspec.json.decode(line, type=dict[str, Any]) for line in block])


def _arrow(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as source:
        try:
            reader = pa.ipc.open_file(source)
            blocks = (reader.get_batch(at) for at in range(reader.num_record_batches))
        except pa.ArrowInvalid:
            source.seek(0)
            blocks = iter(pa.ipc.open_stream(source))
        yield from blocks


READERS: Final[dict[str, Reader]] = {
    ".csv": _csv,
    ".parquet": _parquet,
    ".pq": _parquet,
    ".ndjson": _ndjson,
    ".jsonl": _ndjson,
    ".arrow": _arrow,
    ".arrows": _arrow,
    ".ipc": _arrow,
    ".feather": _arrow,
}
