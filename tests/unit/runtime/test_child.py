import os
import time

import pytest

from driftloop.runtime.child import ChildFailed, Children


async def test_a_child_returns_what_its_function_does() -> None:
    assert await Children().run(10, pow, 2, 10) == 1024


async def test_an_error_in_a_child_is_told() -> None:
    with pytest.raises(ChildFailed, match="ZeroDivisionError: "):
        await Children().run(10, divmod, 1, 0)


async def test_a_child_that_dies_is_told() -> None:
    with pytest.raises(ChildFailed, match="died: exit code 3"):
        await Children().run(10, os._exit, 3)


async def test_a_child_that_takes_too_long_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(ChildFailed, match=r"no result within 0\.3 s"):
        await Children().run(0.3, time.sleep, 60)
    assert time.monotonic() - began < 10
