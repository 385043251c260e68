"""The service's own counters, as `/metrics` tells them, before and after a visit."""

import asyncio
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

ASK_SECONDS: Final = 5.0
PREFIX: Final = "driftloop_"

Counters = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
"""Labels and value of each sample, by name without prefix."""


async def read(base: str) -> Counters:
    """The counters of the service at `base`; raises `OSError`."""
    text = await asyncio.to_thread(fetch, f"{base}/metrics")
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            found.setdefault(one.name.removeprefix(PREFIX), []).append((one.labels, one.value))
    return found


def fetch(address: str) -> str:
    """The text at an address; raises `OSError`."""
    with urllib.request.urlopen(address, timeout=ASK_SECONDS) as got:
        return str(got.read().decode())


def grown(name: str, before: Counters, after: Counters) -> int:
    """By how much a counter has grown."""
    return sum(grown_by(name, "", before, after).values())


def grown_by(name: str, label: str, before: Counters, after: Counters) -> dict[str, int]:
    """By how much a counter has grown, for each value of a label where it has."""
    changes: Counter[str] = Counter()
    for counters, sign in ((after, 1), (before, -1)):
        for labels, value in counters.get(name, []):
            changes[labels.get(label, "")] += sign * round(value)
    return {key: change for key, change in sorted(changes.items()) if change}
