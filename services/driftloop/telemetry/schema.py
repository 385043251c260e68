"""The numbered scripts in `migrations/`: applied in order, each once a database."""

import logging
from pathlib import Path
from typing import Final, NamedTuple

from clickhouse_connect.driver.client import Client

log = logging.getLogger(__name__)

FOLDER: Final = Path(__file__).with_name("migrations")
APPLIED: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations
(version UInt32, name String, applied DateTime64(3, 'UTC') DEFAULT now64(3))
ENGINE = ReplacingMergeTree ORDER BY version
"""


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


def migrate(client: Client) -> None:
    """Apply the scripts this database has not seen; a run that was cut off can be repeated."""
    client.command(APPLIED)
    applied = {row[0] for row in client.query("SELECT version FROM schema_migrations").result_rows}
    for version, name, statements in migrations():
        if version in applied:
            continue
        log.info("clickhouse: migration %s", name)
        for statement in statements:
            client.command(statement)
        client.insert("schema_migrations", [[version, name]], ["version", "name"])


def split(script: str) -> list[str]:
    """The statements of a script: each ends with a `;` at the end of a line.

    >>> split("-- first\\nSELECT 1;\\nSELECT ';';\\n")
    ['-- first\\nSELECT 1', "SELECT ';'"]
    """
    parts = (part.strip().removesuffix(";") for part in f"{script}\n".split(";\n"))
    return [part for part in parts if part]
