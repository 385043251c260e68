"""Waiting for the first of several events."""

import asyncio
from collections.abc import Iterable


async def first(events: Iterable[asyncio.Event], seconds: float) -> None:
    """Wait until one of the events is set, `seconds` at most."""
    waiters = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for waiter in waiters:
        waiter.cancel()
