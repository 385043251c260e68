"""Only statements that read, and read tables only, may be asked."""

import pytest

from driftloop.contracts.errors import InvalidInput
from driftloop.telemetry.domain.question import check_question, first_line

OUTREACHING = frozenset({"file", "url", "remote", "s3", "python"})


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count() FROM scored FINAL",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "SHOW TABLES",
        "DESCRIBE TABLE outcomes",
        "EXPLAIN SELECT 1",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "SELECT 'it\\'s file(' AS a",
        "SELECT 'INTO OUTFILE' AS a, file FROM t",
        "SELECT `url` FROM stats_service",
    ],
)
def test_a_statement_that_reads_tables_may_be_asked(sql: str) -> None:
    assert check_question(sql, OUTREACHING) == sql


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t FORMAT Values",
        "DROP TABLE t",
        "ALTER TABLE t DELETE WHERE 1",
        "SET a = 1",
        "",
    ],
)
def test_a_statement_that_changes_something_may_not(sql: str) -> None:
    with pytest.raises(InvalidInput, match="is not read-only; accepted: one SELECT"):
        check_question(sql, OUTREACHING)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM file('/a', 'LineAsString')",
        "SELECT * FROM `file`('/a')",
        "SELECT 1 IN (SELECT * FROM URL ('http://a'))",
        "DESCRIBE TABLE s3('http://a')",
        "SELECT 'x', '\\'', file('/a')",
        "SELECT * FROM python(a)",
    ],
)
def test_a_function_that_reaches_beyond_the_tables_may_not(sql: str) -> None:
    with pytest.raises(InvalidInput, match=r"\(\) reaches beyond the tables"):
        check_question(sql, OUTREACHING)


@pytest.mark.parametrize("sql", ["SELECT 1 INTO OUTFILE '/a'", "SELECT 1 FORMAT CSV"])
def test_where_the_answer_goes_is_not_for_the_asker_to_say(sql: str) -> None:
    with pytest.raises(InvalidInput, match="says where or how to write the answer"):
        check_question(sql, OUTREACHING)


def test_an_error_is_shown_in_one_line_without_its_codes() -> None:
    raw = (
        "Code: 164. DB::Exception: Code: 164. DB::Exception: Cannot modify 'readonly' setting in"
        " readonly mode. (READONLY) (version 26.9.2.1). (READONLY)\nStack trace"
    )
    assert first_line(raw).startswith("Cannot modify 'readonly' setting in readonly mode.")
    assert "\n" not in first_line(raw)
    assert "version" not in first_line(raw)
    assert first_line("") == "failed"
