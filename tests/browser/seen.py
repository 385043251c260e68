"""When something first appeared in a page, by the clock that events are stamped with.

A page notes the moment of each new text or link of what it is told to watch, at every change of the
document: no sampling, so no delay is added. Browser and services are on one machine.
"""

import asyncio
import os
import statistics
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from tests.browser.browser import SECONDS, Window

WATCH: Final = """
([name, selector, attribute]) => {
  const seen = ((window.__seen ??= {})[name] ??= {});
  const look = () => {
    for (const its of document.querySelectorAll(selector)) {
      const key = attribute ? its.getAttribute(attribute) : its.textContent;
      if (key) seen[key] ??= Date.now();
    }
  };
  look();
  const options = { subtree: true, childList: true, characterData: true, attributes: true };
  new MutationObserver(look).observe(document, options);
}
"""


SOON: Final = 2.0
BUSY: Final = 2.0
"""Processes that want each core from which on the machine is too busy for `SOON`."""


def soon() -> float:
    """Seconds within which things have to appear: 2, and more only where every core is fought for.

    A test of time on a machine that does much else measures that. There the bound grows as the
    waiting processes do.
    """
    wanting = os.getloadavg()[0] / (os.cpu_count() or 1)
    return SOON * max(1.0, wanting / BUSY)


async def watch(window: Window, name: str, selector: str, attribute: str = "") -> None:
    """Note from now on when each text (or value of an attribute) is there for the first time."""
    await window.script(WATCH, [name, selector, attribute])


async def seen(window: Window, name: str) -> dict[str, float]:
    """What was there, and since when (seconds since 1970)."""
    found: dict[str, Any] = await window.script("(name) => window.__seen[name]", name)
    return {key: at / 1000 for key, at in found.items()}


async def all_seen(window: Window, name: str, keys: Iterable[str]) -> dict[str, float]:
    """What was there, as soon as all of `keys` have been: the newest may be on its way."""
    deadline = time.monotonic() + SECONDS
    while missing := set(keys) - (found := await seen(window, name)).keys():
        assert time.monotonic() < deadline, f"{name}: not seen: {sorted(missing)}"
        await asyncio.sleep(0.05)
    return found


def since(said: str, at: float) -> float:
    """Seconds from a time as events carry it."""
    return at - datetime.fromisoformat(said).timestamp()


def median(what: str, delays: list[float]) -> float:
    """The delay that half of them do not exceed; a figure to watch."""
    found = statistics.median(delays)
    told = ", ".join(f"{its:.2f}" for its in sorted(delays))
    print(f"{what}: {found:.2f} s of {told}; {soon():.1f} s is soon here")  # noqa: T201  # to watch
    return found
