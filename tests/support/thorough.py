"""How many examples a property is tried on: `THOROUGH=20 make test` takes twenty times as many."""

import os
from typing import Any

from hypothesis import settings

FACTOR = int(os.environ.get("THOROUGH", "1"))


def examples(count: int, **more: Any) -> settings:
    """Settings with so many examples, times `THOROUGH`; no deadline, the machine may be busy."""
    return settings(max_examples=count * FACTOR, deadline=None, **more)
