"""`make bench-console`: a thousand models, a thousand events a second, two minutes, as a table."""

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from tests.browser.browser import CHROMIUM
from tests.browser.crowd import measure

MOST_BLOCK = 200.0
"""Milliseconds that a page's main thread may be blocked."""
MOST_GROWTH = 0.1
"""Share by which the console's memory may grow after the first half minute."""


def main() -> int:
    """Print the table; 1 if a bound was broken."""
    logging.basicConfig(level="WARNING", format="%(message)s")
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--models", type=int, default=1_000)
    asked.add_argument("--rate", type=int, default=1_000, help="events a second")
    asked.add_argument("--seconds", type=float, default=120.0)
    told = asked.parse_args()
    if not CHROMIUM:
        print("there is no `chromium` on the PATH", file=sys.stderr)  # noqa: T201  # for people
        return 2
    with tempfile.TemporaryDirectory(prefix="driftloop-crowd-") as folder:
        found = asyncio.run(
            measure(Path(folder), models=told.models, rate=told.rate, seconds=told.seconds)
        )
    good = found.longest < MOST_BLOCK and found.growth() < MOST_GROWTH
    print(found.table())  # noqa: T201  # for people
    print("within its bounds" if good else "OUT OF BOUNDS")  # noqa: T201  # for people
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
