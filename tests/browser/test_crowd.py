"""A thousand models and a thousand events a second, for seconds; `make bench-console` is long."""

from pathlib import Path

import pytest

from tests.browser.browser import WITHOUT
from tests.browser.crowd import measure

pytestmark = [WITHOUT, pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]

MOST_BLOCK = 1_000.0
"""Milliseconds: beside other tests a browser waits for its turn. The bench asks for 200."""


async def test_a_thousand_models_do_not_freeze_the_pages(tmp_path: Path) -> None:
    found = await measure(tmp_path, models=1_000, rate=1_000, seconds=10.0)
    print(found.table())  # noqa: T201  # figures to watch

    assert found.events > 5_000
    assert found.shown > 100
    assert found.longest < MOST_BLOCK
    assert found.growth(warm=5.0) < 0.3
