"""The migrations are numbered without a gap and cover every table that is written."""

import re

from driftloop.telemetry.domain.records import SCHEMAS
from driftloop.telemetry.schema import migrations, split


def test_migrations_are_numbered_from_one_without_a_gap() -> None:
    assert [m.version for m in migrations()] == list(range(1, len(migrations()) + 1))


def test_every_statement_can_be_repeated() -> None:
    for migration in migrations():
        for statement in migration.statements:
            assert re.search(r"^(CREATE TABLE IF NOT EXISTS|ALTER TABLE)", statement, re.MULTILINE)


def test_every_column_of_a_record_is_in_its_table() -> None:
    script = "\n;\n".join(s for m in migrations() for s in m.statements)
    for table, schema in SCHEMAS.items():
        found = re.search(rf"EXISTS {table}\n\((.*?)\n\)", script, re.DOTALL)
        assert found is not None
        columns = [line.split()[0].strip("`") for line in found[1].strip().splitlines()]
        columns += re.findall(rf"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS (\w+)", script)
        assert sorted(columns) == sorted(schema.names)


def test_a_script_is_split_at_the_ends_of_its_statements() -> None:
    assert split("SELECT ';'\n, 2;\n\nSELECT 3;\n") == ["SELECT ';'\n, 2", "SELECT 3"]
