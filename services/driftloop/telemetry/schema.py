"""The numbered scripts in `migrations/`: applied in order, each once a database."""

from pathlib import Path
from typing import Final, NamedTuple

FOLDER: Final = Path(__file__).with_name("migrations")


class Migration(NamedTuple):
    """One script; its number is the beginning of its name."""

    version: int
    name: str
    statements: list[str]


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """All scripts by their number."""
    return [
        Migration(int(path.stem.split("_")[0]), path.stem, split(path.read_text()))
        for path in sorted(folder.glob("*.sql"))
    ]


def split(script: str) -> list[str]:
    """The statements of a script: each ends with a `;` at the end of a line.

    >>> split("-- first\\nSELECT 1;\\nSELECT ';';\\n")
    ['-- first\\nSELECT 1', "SELECT ';'"]
    """
    parts = (part.strip().removesuffix(";") for part in f"{script}\n".split(";\n"))
    return [part for part in parts if part]
