"""What a tutorial tells the reader to type is there: commands and their options."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from driftloop.cli.main import make

ROOT = Path(__file__).parents[3]
TUTORIALS = sorted((ROOT / "docs").glob("tutorial*.md"))


def commands(text: str) -> list[str]:
    """Every `driftloop ...` of a page: lines of its blocks, and code between single backticks."""
    blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE))
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = re.findall(r"^driftloop .+$", blocks, flags=re.MULTILINE)
    return lines + re.findall(r"`(driftloop [^`]+)`", prose)


def unknown(line: str) -> str:
    """What a line names that the command line does not have; empty if all of it is there."""
    words = shlex.split(line)[1:]
    at: Any = typer.main.get_command(make())
    while words and words[0] in getattr(at, "commands", {}):
        at = at.commands[words.pop(0)]
    if (
        getattr(at, "commands", {}) and at.name != "runs"
    ):  # `runs` alone, or with a model, lists them
        return f"{line}: no command {words[:1]}"
    options = {name for its in at.params for name in (*its.opts, *its.secondary_opts)}
    wrong = [word for word in words if word.startswith("-") and word.split("=")[0] not in options]
    return f"{line}: no option {wrong[0]}" if wrong else ""


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_every_command_of_a_tutorial_exists(page: Path) -> None:
    told = commands(page.read_text())
    assert len(told) > 5
    assert [wrong for line in told if (wrong := unknown(line))] == []


def test_a_command_or_an_option_that_is_not_there_is_found() -> None:
    assert "no command ['bakc']" in unknown("driftloop bakc flights")
    assert "no option --becuase" in unknown("driftloop pause flights --becuase x")
    assert "no option --rwos" in unknown("driftloop demo --rwos 5")
