"""The page itself: nothing from elsewhere, nothing missing."""

import re

import pytest

from driftloop.console.login import POLICY, STATIC, same_origin

FILES = sorted(
    str(path.relative_to(STATIC))
    for path in STATIC.rglob("*")
    if path.suffix in (".html", ".css", ".js")
)
SCRIPTS = [path for path in FILES if path.endswith(".js")]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_file_asks_for_anything_from_elsewhere(path: str) -> None:
    text = (STATIC / path).read_text().replace('"http://www.w3.org/2000/svg"', "")
    assert not re.findall(r"""(?:https?:)?//[\w.-]+\.\w+""", text)
    assert "style=" not in text
    assert "innerHTML" not in text
    assert "'self'" in POLICY


@pytest.mark.parametrize("path", SCRIPTS, ids=str)
def test_every_module_that_a_script_imports_is_there(path: str) -> None:
    text = (STATIC / path).read_text()
    for name in re.findall(r'''(?:from|import)\s*\(?"(\.[^"]+)"''', text):
        assert (STATIC / path).parent.joinpath(name).is_file(), name


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        (None, "localhost:8800", True),
        ("http://localhost:8800", "localhost:8800", True),
        ("http://evil.example", "localhost:8800", False),
        ("http://localhost:9999", "localhost:8800", False),
        ("null", "localhost:8800", False),
    ],
)
def test_orders_come_from_this_page_or_from_no_page(
    origin: str | None, host: str, same: bool
) -> None:
    assert same_origin(origin, host) is same
