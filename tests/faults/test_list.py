"""Every fault of the list is told in README.md, and has a test that brings it about."""

import ast
import re
from pathlib import Path

from tests.support.faults import COUNT

TESTS = Path(__file__).parents[1]
LISTED = re.compile(r"^\| (\d+) \| \S", re.MULTILINE)


def test_the_list_tells_every_fault_once() -> None:
    numbers = [int(n) for n in LISTED.findall((TESTS / "faults/README.md").read_text())]

    assert numbers == list(range(1, COUNT + 1))


def test_every_fault_has_a_test() -> None:
    marked = {
        number for path in TESTS.rglob("test_*.py") for number, _ in marks_of(path.read_text())
    }

    assert set(range(1, COUNT + 1)) - marked == set()
    assert marked <= set(range(1, COUNT + 1))


def marks_of(source: str) -> list[tuple[int, str]]:
    """The faults that a file of tests is marked with."""
    return [
        (call.args[0].value, call.args[1].value)
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) == "pytest.mark.fault"
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[1], ast.Constant)
        and isinstance(call.args[0].value, int)
        and isinstance(call.args[1].value, str)
    ]
