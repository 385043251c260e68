"""The table of the suite: lines of one title add up, and only a whole run gets onto the page."""

from pathlib import Path

import msgspec
import pytest

from tests.faults.table import BEGIN, END, main, page_with
from tests.support.faults import Line, Table, cells, summed

ONE = Line(fault=3, title="a", injections=2, rows=1_000, lost=0, seconds=1.5)
OTHER = Line(fault=3, title="a", injections=1, rows=500, refused=7, seconds=0.5, passed=False)
PAGE = f"before\n{BEGIN}\nold\n{END}\nafter\n"


def table(*, complete: bool) -> Table:
    return Table(seed=7, date="2024-01-01", complete=complete, lines=[ONE])


def test_lines_of_one_title_add_up_and_the_longest_recovery_counts() -> None:
    assert summed(ONE, OTHER) == Line(
        fault=3,
        title="a",
        injections=3,
        rows=1_500,
        lost=0,
        refused=7,
        seconds=1.5,
        passed=False,
    )


def test_what_does_not_apply_is_empty_and_zero_is_told() -> None:
    assert cells([ONE]) == [("3", "a", "2", "1,000", "0", "", "", "1.5")]


def test_only_what_is_between_the_marks_is_replaced() -> None:
    made = page_with(PAGE, table(complete=True))

    assert made.startswith(f"before\n{BEGIN}\n")
    assert made.endswith(f"{END}\nafter\n")
    assert "old" not in made
    assert "| 3 | a | 2 | 1,000 | 0 |  |  | 1.5 |" in made
    assert "--seed 7" in made


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(SystemExit, match="no region"):
        page_with("nothing", table(complete=True))


@pytest.mark.parametrize("complete", [True, False])
def test_a_run_that_was_not_whole_leaves_the_page_as_it_is(tmp_path: Path, complete: bool) -> None:
    report, page = tmp_path / "report.json", tmp_path / "page.md"
    report.write_bytes(msgspec.json.encode(table(complete=complete)))
    page.write_text(PAGE)

    main(str(report), str(page))

    assert (page.read_text() == PAGE) != complete
