"""Which SQL may be asked: one statement that reads, and reads tables only.

ClickHouse itself refuses writes and settings (the asking connection is `readonly`). But chDB has
no users to take rights from, and a read-only `DESCRIBE file('/etc/passwd')` or `SELECT ... INTO
OUTFILE` still reaches the machine, so functions that reach out of the tables are refused here, on
the text that ClickHouse's own parser made of the statement.
"""

import re
from collections.abc import Set
from typing import Final

from driftloop.contracts.errors import InvalidInput

STARTS: Final = ("SELECT", "WITH", "SHOW", "DESCRIBE", "EXPLAIN", "EXISTS")
ACCEPTED: Final = "one SELECT, WITH, SHOW, DESCRIBE, EXPLAIN or EXISTS statement over the tables"
HARMLESS: Final = frozenset(
    {
        "format",
        "generateRandom",
        "generate_series",
        "generateSeries",
        "merge",
        "null",
        "numbers",
        "numbers_mt",
        "primes",
        "SQLStandardValues",
        "values",
        "view",
        "zeros",
        "zeros_mt",
    }
)
"""Table functions that make rows up or read our own tables."""

_LITERAL: Final = re.compile(r"'(?:[^'\\]|\\.|'')*'", re.DOTALL)
_CALL: Final = re.compile(r"`?(\w+)`?\s*\(")
_INTO: Final = re.compile(r"\bINTO\s+OUTFILE\b|\bFORMAT\s+\w+\s*$", re.IGNORECASE)


def check_question(canonical: str, outreaching: Set[str]) -> str:
    """`canonical` (as ClickHouse formats it) if it may be asked, else `InvalidInput`.

    `outreaching` are the names of functions that read or write beyond the tables, in lower case.
    """
    bare = _LITERAL.sub("''", canonical)
    start = bare.lstrip("( ").split(None, 1)[0].upper() if bare.strip("( ") else ""
    if start not in STARTS:
        raise InvalidInput(f"sql: {canonical[:60]!r} is not read-only; accepted: {ACCEPTED}")
    if _INTO.search(bare):
        raise InvalidInput(f"sql: says where or how to write the answer; accepted: {ACCEPTED}")
    for name in _CALL.findall(bare):
        if name.lower() in outreaching:
            raise InvalidInput(f"sql: {name}() reaches beyond the tables; accepted: {ACCEPTED}")
    return canonical


def first_line(message: str) -> str:
    """ClickHouse's error in one line, without what only its developers read."""
    text = message.strip().splitlines()[0] if message.strip() else "failed"
    text = re.sub(r"^(Code: \d+\. )?(DB::Exception: )+(Code: \d+\. DB::Exception: )?", "", text)
    text = re.sub(r"\s*\(version [\d.]+[^)]*\)", "", text)
    return text.split(": In scope ")[0].split(". Stack trace")[0][:500]
