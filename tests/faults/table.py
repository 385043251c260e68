"""Writes the table of a fault suite run into a page: `python -m tests.faults.table JSON PAGE`."""

import sys
from pathlib import Path

import msgspec

from tests.support.faults import COLUMNS, Table, cells

BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"


def page_with(page: str, table: Table) -> str:
    """The page with what is between its two marks replaced."""
    before, mark, rest = page.partition(BEGIN)
    _, other, after = rest.partition(END)
    if not mark or not other:
        raise SystemExit(f"the page has no region between {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{_markdown(table)}{END}{after}"


def _markdown(table: Table) -> str:
    head = [" | ".join(COLUMNS), " | ".join(["---:", "---"] + ["---:"] * (len(COLUMNS) - 2))]
    rows = [" | ".join(row) for row in cells(table.lines)]
    text = "".join(f"| {row} |\n" for row in [*head, *rows])
    return f"\nFrom `make faults ARGS='--seed {table.seed}'` on {table.date}.\n\n{text}\n"


def main(report: str, page: str) -> None:
    """Write it, if the run was a whole one."""
    table = msgspec.json.decode(Path(report).read_bytes(), type=Table)
    if not table.complete:
        sys.stdout.write(f"{page} stays as it is: not every fault was tried, or one test failed\n")
        return
    path = Path(page)
    path.write_text(page_with(path.read_text(), table))
    sys.stdout.write(f"{page} has the table of this run\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
