"""Header blocks go round, and none of any bytes breaks whoever reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.bus.log import rows_total
from driftloop.bus.messages import Delivered
from driftloop.bus.wire import block_of, headers_of, read_headers
from driftloop.contracts.headers import TOTAL
from tests.support.thorough import examples

names = st.from_regex("[A-Za-z][A-Za-z0-9-]{0,15}", fullmatch=True)
values = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@examples(80)
@given(st.dictionaries(names, values, max_size=6))
def test_headers_come_back_without_line_breaks_and_outer_spaces(said: dict[str, str]) -> None:
    block = block_of(said)
    assert block.startswith(b"NATS/1.0\r\n")
    assert block.endswith(b"\r\n\r\n")
    assert block.count(b"\r\n") == len(said) + 2  # no value makes a line of its own
    again = read_headers(block)
    assert again.keys() == said.keys()
    for name, value in said.items():
        if not set(value) & set("\r\n"):
            assert again[name] == value.strip()
    assert headers_of(block) == again


@examples(150)
@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda b: b"NATS/1.0\r\n" + b))
def test_any_bytes_are_read_as_texts(block: bytes) -> None:
    for read in (headers_of, read_headers):
        found = read(block)
        assert all(isinstance(text, str) for pair in found.items() for text in pair)


@pytest.mark.parametrize("told", ["", "-1", "x", "1.5", "²", "9" * 400, "=1+1"])
def test_a_running_total_that_is_no_number_is_none(told: str) -> None:
    message = Delivered(subject="s", payload=b"", headers={TOTAL: told}, stream="S", seq=1)
    assert rows_total(message) == 0
