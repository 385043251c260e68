"""Values inside of ClickHouse SQL, quoted so that none of them can end what it stands in."""


def identifier(name: str) -> str:
    """`name` quoted as an identifier.

    >>> identifier("a`b")
    '`a\\\\`b`'
    """
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def text(value: str) -> str:
    """`value` quoted as a text literal.

    >>> text("it's")
    "'it\\\\'s'"
    """
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
