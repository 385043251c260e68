from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from pyarrow import csv, feather, parquet

from driftloop.cli import files
from driftloop.contracts.errors import InvalidInput

TABLE = pa.table({"id": ["a", "b", "c"], "x": [1.5, None, 3.0]})


def _ndjson(table: pa.Table, path: Path) -> None:
    path.write_bytes(b"\n".join(map(msgspec.json.encode, table.to_pylist())))


def _stream(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


WRITERS: dict[str, Callable[[pa.Table, Path], object]] = {
    "data.csv": lambda table, path: csv.write_csv(table, path),
    "data.parquet": lambda table, path: parquet.write_table(table, path),
    "data.jsonl": _ndjson,
    "data.feather": lambda table, path: feather.write_feather(table, path),
    "data.arrows": _stream,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](TABLE, path)
    rows = [row for batch in files.read(path) for row in batch.to_pylist()]
    assert [row["id"] for row in rows] == ["a", "b", "c"]
    assert [row["x"] if row["x"] is None else float(row["x"]) for row in rows] == [1.5, None, 3.0]
    assert files.count(path) == 3


def test_a_bad_value_far_down_does_not_make_a_csv_file_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("id,x\n" + "".join(f"{n},{n}\n" for n in range(200_000)) + "z,many\n")
    assert list(files.read(path))[-1].to_pylist()[-1] == {"id": "z", "x": "many"}


def test_a_large_batch_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "data.feather"
    feather.write_feather(pa.table({"x": range(10_000)}), path)
    assert [batch.num_rows for batch in files.read(path)] == [4096, 4096, 1808]


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.touch()
    assert list(files.read(path)) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.csv", b"a,b\n1,2\n1,2,3\n"),
        ("data.parquet", b"not parquet"),
        ("data.jsonl", b'{"a": 1}\n[1]\n'),
        ("data.arrow", b"not arrow"),
        ("data.xlsx", b""),
    ],
)
def test_what_cannot_be_read_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=rf"FILE: .*{name}.* accepted: "):
        list(files.read(path))
