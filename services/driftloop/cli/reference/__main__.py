"""`python -m driftloop.cli.reference`: writes the pages, or tells which are stale."""

import argparse
import sys
from pathlib import Path

from driftloop.cli.reference.pages import generate


def main(arguments: list[str] | None = None) -> int:
    """Write the pages into a folder; with --check only compare, exit code 1 when one is stale."""
    parser = argparse.ArgumentParser(prog="python -m driftloop.cli.reference", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs/reference"))
    parser.add_argument("--check", action="store_true", help="only tell which pages are stale")
    given = parser.parse_args(arguments)
    stale = [
        name
        for name, text in generate().items()
        if _differs(given.folder / name, text, given.check)
    ]
    for name in stale:
        told = "is stale; run `make docs`" if given.check else "written"
        sys.stdout.write(f"{given.folder / name}: {told}\n")
    return 1 if stale and given.check else 0


def _differs(path: Path, text: str, only_check: bool) -> bool:
    if path.exists() and path.read_text() == text:
        return False
    if not only_check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return True


if __name__ == "__main__":
    sys.exit(main())
