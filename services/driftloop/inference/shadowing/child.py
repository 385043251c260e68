"""The process of one shadow: at a low priority, it loads a model and answers matrices.

Started as `python -m driftloop.inference.shadowing.child FD MEGABYTES ACCEPTED`: the line to the
service, the memory it may use, and what is accepted as a model. What is the same for every model,
the imports, is done at the priority of the service, so that a shadow on a busy machine begins
within a second; all that depends on the model gives way to the services.
"""

import contextlib
import ctypes
import importlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from driftloop.inference.shadowing import frames
from driftloop.inference.shadowing.frames import Header

PR_SET_PDEATHSIG: Final = 1
SESSION: Final = "driftloop.inference.session"
LOWEST: Final = 10
"""On the scale of `nice`: a tenth of the time of a service where both want it."""
HEADROOM_MB: Final = 256
"""Over the limit that the service watches: what one run could take before the service looks."""

Run = Callable[[Any], Any]
"""Answers a (rows, features) float32 matrix with a (rows, width) float32 matrix."""
Load = Callable[[bytes, int, int], Run]
"""Makes a `Run` of a model's bytes, its features and its width."""


def main(load: Load) -> None:
    """Serve the line named by the arguments until it ends."""
    number, megabytes = map(int, sys.argv[1:3])
    be_bounded(megabytes)
    importlib.import_module(SESSION)
    be_humble()
    with socket.socket(fileno=number) as line:
        serve(line, load)


def be_bounded(megabytes: int) -> None:
    """Take bounded memory, go first when memory runs out, and die with the service."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service
    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError):  # Linux has all of these
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            raise SystemExit(1)  # it died before it could be asked for
        Path("/proc/self/oom_score_adj").write_text("1000")
    most = (megabytes + HEADROOM_MB) << 20
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def be_humble() -> None:
    """Give way to the services, with all threads there are and will be; see `turns` for more."""
    try:
        for thread in Path("/proc/self/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), LOWEST)
    except OSError:
        os.nice(LOWEST)


def serve(line: socket.socket, load: Load) -> None:
    """Load the model that comes first, then answer one matrix after the other."""
    run = _load(line, load)
    while run is not None and (raw := frames.receive(line, frames.HEADER_BYTES)) is not None:
        header = frames.decode(raw)
        body = frames.receive(line, header.length)
        if body is None:
            return
        _answer(line, run, header, body)


def _load(line: socket.socket, load: Load) -> Run | None:
    raw = frames.receive(line, frames.HEADER_BYTES)
    body = frames.receive(line, (header := frames.decode(raw)).length) if raw else None
    if body is None:
        return None
    data = bytes(body)
    body.clear()  # a large model is not kept twice
    try:
        run = load(data, header.rows, header.columns)
    except Exception as error:
        _text(line, Header(frames.REFUSED, 0, 0, 0, 0), str(error))
        return None
    line.sendall(Header(frames.READY, 0, 0, 0, 0).encode())
    return run


def _answer(line: socket.socket, run: Run, header: Header, body: bytearray) -> None:
    import numpy as np

    matrix = np.frombuffer(body, np.float32).reshape(header.rows, header.columns)
    try:
        answers = np.ascontiguousarray(run(matrix), np.float32)
        rows, columns = answers.shape
    except Exception as error:
        _text(line, header._replace(kind=frames.FAILED), f"{type(error).__name__}: {error}")
        return
    line.sendall(Header(frames.ANSWER, header.job, rows, columns, answers.nbytes).encode())
    line.sendall(answers.data.cast("B") if answers.size else b"")


def _text(line: socket.socket, header: Header, text: str) -> None:
    raw = text.encode()[: frames.TEXT_BYTES]
    line.sendall(header._replace(length=len(raw)).encode() + raw)


def session(data: bytes, features: int, width: int) -> Run:
    """The model in onnxruntime, on one thread of the CPU."""
    from driftloop.inference.session import Session, options_of

    return Session(data, features, width, options_of(sys.argv[3])).run


if __name__ == "__main__":
    main(session)
