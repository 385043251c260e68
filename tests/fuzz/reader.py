"""`python -m tests.fuzz.reader spec|onnx`: reads files from standard input, one after the other.

A file is four bytes of length and its bytes, and so is an answer: `taken`, `refused: ...` or
`BUG ...`. The process cannot take all the memory of the machine.
"""

import os
import resource
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from driftloop.contracts.errors import DriftloopError

MOST_MB = 1_000
"""Resident megabytes; a file of some kilobytes that takes more is a bug."""
ADDRESSES_GB = 8


def read_spec(folder: Path) -> Callable[[bytes], None]:
    """Reads a spec as the command line does."""
    from driftloop.modelspec.check import load

    def read(data: bytes) -> None:
        file = folder / "spec.toml"
        file.write_bytes(data)
        load(file)

    return read


def read_onnx(_: Path) -> Callable[[bytes], None]:
    """Makes a session as inference does."""
    from driftloop.inference.session import Session

    def read(data: bytes) -> None:
        Session(data, 3, 2 if b"probabilities" in data else 1)

    return read


def main() -> None:
    """Read until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES_GB << 30,) * 2)
    with tempfile.TemporaryDirectory() as folder:
        read = {"spec": read_spec, "onnx": read_onnx}[sys.argv[1]](Path(folder))
        source, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # onnxruntime prints
        while head := source.read(4):
            told = _told(read, source.read(struct.unpack("<I", head)[0]))
            out.write(struct.pack("<I", len(told)) + told)
            out.flush()


def _told(read: Callable[[bytes], None], data: bytes) -> bytes:
    try:
        read(data)
        told = "taken"
    except DriftloopError as error:
        told = f"refused: {error}"
    except BaseException:
        told = f"BUG {traceback.format_exc()[-1_500:]}"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    if grown > MOST_MB:
        told = f"BUG the process has {grown} MiB"
    return told[:4_000].encode("utf-8", "replace")


if __name__ == "__main__":
    main()
