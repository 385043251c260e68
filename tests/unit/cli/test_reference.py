from pathlib import Path

import pytest

from driftloop.cli.reference.__main__ import main
from driftloop.cli.reference.pages import generate
from driftloop.contracts.codec import EVENT_TYPES, kinds
from driftloop.contracts.subjects import STREAMS
from driftloop.runtime.settings import SERVICES

FOLDER = Path(__file__).parents[3] / "docs/reference"


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return generate()


def test_the_committed_pages_are_those_of_the_code(pages: dict[str, str]) -> None:
    committed = {p.name: p.read_text() for p in FOLDER.iterdir() if p.name in pages}
    stale = [name for name, text in pages.items() if committed.get(name) != text]
    assert not stale, "run `make docs`"


def test_nothing_is_left_out(pages: dict[str, str]) -> None:
    assert all(f"## {kind}\n" in pages["events.md"] for kind in kinds(EVENT_TYPES))
    assert all(f"`{stream.name}`" in pages["subjects.md"] for stream in STREAMS)
    assert all(f"## {service}\n" in pages["settings.md"] for service in SERVICES)


def test_each_setting_parameter_and_field_of_the_spec_has_a_meaning(pages: dict[str, str]) -> None:
    for name in ("settings.md", "cli.md", "spec.md"):
        rows = [line for line in pages[name].splitlines() if line.startswith("| `")]
        assert rows
        assert not [row for row in rows if row.endswith("|  |")]


def test_a_stale_page_is_told_and_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0
    (tmp_path / "events.md").write_text("old")
    capsys.readouterr()
    assert main(["--check", str(tmp_path)]) == 1
    assert "events.md: is stale" in capsys.readouterr().out
    assert (tmp_path / "events.md").read_text() == "old"
