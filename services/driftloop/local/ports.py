"""Ports of this machine: one that is free, kept free for who is going to listen on it."""

import secrets
import socket
import time
from collections import deque
from typing import Final

FREE_PORTS: Final = range(15_000, 32_000)
"""Below the ports the kernel gives to outgoing connections, which could take one meanwhile."""
FREE_SECONDS: Final = 5.0
"""How long a port may stay taken: by a system that was killed and is still leaving."""
MOST_KEPT: Final = 256
"""Ports that are kept at most; the oldest are given up."""
MOST_TRIES: Final = 1_000

_kept: deque[socket.socket] = deque()


def free_port(host: str = "127.0.0.1", together: int = 1) -> int:
    """A port that nobody has, and that no other call gives out, here or in another process; the
    first of so many `together` in a row.

    A socket is bound to each as long as this process lives, or until `MOST_KEPT` more were asked
    for. Servers listen there all the same: they set `SO_REUSEADDR`, under which the kernel lets
    sockets share a port while none of the others listens (socket(7)). Raises `RuntimeError` when
    none was found.
    """
    for _ in range(MOST_TRIES):
        first = secrets.choice(FREE_PORTS[: len(FREE_PORTS) - together + 1])
        made: list[socket.socket] = []
        try:
            for port in range(first, first + together):
                made.append(socket.socket())
                made[-1].bind((host, port))
        except OSError:
            for taken in made:
                taken.close()
            continue
        for kept in made:
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _kept.extend(made)
        while len(_kept) > MOST_KEPT:
            _kept.popleft().close()
        return first
    tried = f"{FREE_PORTS.start} to {FREE_PORTS.stop - 1}"
    raise RuntimeError(f"no free port on {host} after {MOST_TRIES} tries from {tried}")


def require_free(host: str, port: int, what: str, seconds: float = FREE_SECONDS) -> None:
    """Wait a little until nobody listens on `port`; raises `RuntimeError` naming it."""
    deadline = time.monotonic() + seconds
    while not is_free(host, port):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: {port} of {host} is taken; accepted: a free one")
        time.sleep(0.1)


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens on a port."""
    try:
        socket.create_server((host, port)).close()
    except OSError:
        return False
    return True
