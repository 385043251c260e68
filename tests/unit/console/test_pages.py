"""The page itself: nothing from elsewhere, nothing missing."""

import re

import pytest

from driftloop.console.http import read_order
from driftloop.console.login import POLICY, STATIC, same_origin
from driftloop.contracts.errors import InvalidInput

FILES = sorted(path for path in STATIC.iterdir() if path.suffix in (".html", ".css", ".js"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_asks_for_anything_from_elsewhere(path: object) -> None:
    text = (STATIC / str(path)).read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.findall(r"""(?:https?:)?//[\w.-]+\.\w+""", text)
    assert "style=" not in text
    assert "innerHTML" not in text
    assert "'self'" in POLICY


def test_every_part_a_script_asks_for_is_in_the_page() -> None:
    page = (STATIC / "index.html").read_text()
    scripts = "\n".join(path.read_text() for path in FILES if path.suffix == ".js")
    for name in re.findall(r'\$\("(\w+)"\)|fromTemplate\("(\w+)"\)', scripts):
        assert f'id="{"".join(name)}"' in page
    for name in set(re.findall(r"\bat\.(\w+)", scripts)) - {"getTime", "toDateString"}:
        assert f'data-at="{name}"' in page
    for name in re.findall(r'from "\./(\w+\.js)"', scripts):
        assert (STATIC / name).is_file()


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


def test_an_order_is_read_with_its_defaults() -> None:
    assert read_order(b"", "retrain").by == "console"
    assert read_order(b'{"version": 3, "reason": "x"}', "promote").version == 3


@pytest.mark.parametrize("body", [b"[", b"[]", b'{"version": "x"}', b'{"verson": 1}', b"\xff"])
def test_an_order_that_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"body: .*accepted: "):
        read_order(body, "retrain")


def test_a_promotion_names_its_version() -> None:
    with pytest.raises(InvalidInput, match="version: 0 is not a version"):
        read_order(b"{}", "promote")
