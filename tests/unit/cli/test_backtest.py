"""`driftloop backtest` as a person calls it."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import feather

from driftloop.cli import main as command
from driftloop.cli.backtest import read
from driftloop.contracts.errors import InvalidInput
from tests.support.backtest_files import CHANGE, ROWS, rows, spec, write
from tests.support.world import spec_text, world


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `driftloop backtest`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["driftloop", "backtest", *map(str, arguments)])
        try:
            command.main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    file = tmp_path / "world.toml"
    file.write_text(spec_text("world"))
    return file


def test_a_parquet_file_is_played_and_reported(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, toml: Path
) -> None:
    made = [tmp_path / "a.json", tmp_path / "b.json"]
    options = ("--label-time", "came", "--slice", "2h", "--seed", "3")
    told = [run(capsys, toml, write(tmp_path), *options, "--json", file) for file in made]
    report: dict[str, Any] = json.loads(made[0].read_text())

    assert [code for code, _, _ in told] == [0, 0]
    assert "Runs of the loop" in told[0][1]
    assert "rows/s without these" in told[0][2]
    assert report["rows"]["rows"] == ROWS
    assert report["seed"] == 3
    assert [run["trigger"] for run in report["runs"]][:2] == ["bootstrap", "degraded"]
    assert made[0].read_bytes() == made[1].read_bytes()


def test_a_grid_is_told_in_one_table(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, toml: Path
) -> None:
    pytest.importorskip("matplotlib")
    file, out = write(tmp_path, 2_500), tmp_path / "grid.json"
    grid = ("--grid", "shadow.margin=0,0.01", "--set", "triggers.cooldown=1d", "--json", out)
    code, said, _ = run(capsys, toml, file, "--label-time", "came", *grid)
    told = json.loads(out.read_text())["policies"]

    assert code == 0
    assert "Policies compared" in said
    assert [one["set"] for one in told] == [
        {"triggers.cooldown": "1d", "shadow.margin": 0},
        {"triggers.cooldown": "1d", "shadow.margin": 0.01},
    ]
    picture = tmp_path / "one.png"
    code, _, _ = run(capsys, toml, file, "--label-time", "came", "--plot", picture)
    assert (code, picture.read_bytes()[1:4]) == (0, b"PNG")


@pytest.mark.parametrize("ending", ["csv", "parquet", "arrow"])
def test_every_format_gives_the_same_rows(tmp_path: Path, ending: str) -> None:
    table = world(300, CHANGE)
    if ending == "parquet":
        file = write(tmp_path, 300)
    else:
        table = table.rename_columns({"label_time": "came"})
        file = tmp_path / f"world.{ending}"
        if ending == "arrow":
            feather.write_feather(table, str(file), compression="uncompressed")
        else:
            _write_csv(table, file)
    found, wanted = read(spec(), file, "came", 0), rows(300)

    assert found.times.tolist() == wanted.times.tolist()
    assert found.label_times.tolist() == wanted.label_times.tolist()
    assert found.labels.to_pylist() == wanted.labels.to_pylist()
    assert found.rows.column("event_id").to_pylist() == wanted.rows.column("event_id").to_pylist()
    assert "came" not in found.rows.schema.names


def _write_csv(table: pa.Table, file: Path) -> None:
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(table.column_names)
        for row in table.to_pylist():
            told = (v.isoformat() if hasattr(v, "isoformat") else v for v in row.values())
            writer.writerow(told)


def test_labels_without_times_come_after_the_delay(tmp_path: Path) -> None:
    file = tmp_path / "world.arrow"
    feather.write_feather(world(50, 20).drop_columns(["label_time"]), str(file))
    found = read(spec(), file, "", 7_200_000)

    assert (found.label_times - found.times).tolist() == [7_200_000] * 50


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "drift.alarms_per_million=-1"), "drift.alarms_per_million: -1.0 is not"),
        (("--set", "drift.alarm=1"), "accepted: alarms_per_million"),
        (("--grid", "shadow.margin=0,3"), "shadow.margin: 3.0 is not a margin"),
        (("--label-time", "landed"), "--label-time: the file has no column 'landed'"),
        (("--label-delay", "2"), "--label-delay: '2' is not a duration"),
        (("--slice", "fast"), "--slice: 'fast' is not a duration"),
        (("--grid", "shadow.margin=0,0.1", "--plot", "p.png"), "--plot: 2 policies"),
    ],
)
def test_a_bad_option_is_one_clear_line_and_exit_code_2(
    arguments: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    toml: Path,
) -> None:
    code, _, told = run(capsys, toml, write(tmp_path, 100), *arguments)

    assert code == 2
    assert said in told


def test_a_missing_file_is_asked_for(capsys: pytest.CaptureFixture[str], toml: Path) -> None:
    code, _, told = run(capsys, toml)

    assert code == 2
    assert "FILE: is missing; accepted: a file of labelled rows, or `flights`" in told


def test_a_file_without_labels_names_the_column(tmp_path: Path) -> None:
    file = tmp_path / "world.arrow"
    feather.write_feather(world(5, 2).drop_columns(["label"]), str(file))

    with pytest.raises(
        InvalidInput, match=r"target.name: the file has no column 'label'; accepted"
    ):
        read(spec(), file, "", 0)
