"""Whether somebody listens on a port already, which the kernel does not say of a shared one."""

import asyncio
import errno
import socket
import time
from collections.abc import Iterable
from typing import Final

FREE_SECONDS: Final = 2.0
"""How long a port may stay taken: by the workers of a worker 0 that was killed."""


async def require_unshared(host: str, ports: Iterable[int]) -> None:
    """Check that nobody else listens: the kernel would share a port without a word.

    Raises `OSError` naming the address.
    """
    deadline = time.monotonic() + FREE_SECONDS
    for port in ports:
        while (taken := _taken(host, port)) is not None:
            if taken.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise OSError(f"cannot listen on {host}:{port}: {taken.strerror}")
            await asyncio.sleep(0.05)


def _taken(host: str, port: int) -> OSError | None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((host, port))
        except OSError as error:
            return error
    return None
