"""A copy of a folder as a power loss would leave it: without the pages that are not on the disk.

The kernel says of each page in memory whether it has to be written yet (`cachestat`, Linux 6.5 on:
https://man7.org/linux/man-pages/man2/cachestat.2.html). Such a page is left out: zeros in the midst
of a file, and at its end the file is cut before it. What the kernel wrote by itself in the
meantime counts as being on the disk.

It does not show what a disk does that says it has written and has not, nor what becomes of names
(created, renamed, removed) that were not synced. A page that was synced and then written to again
is left out as a whole.
"""

import ctypes
import mmap
import os
from pathlib import Path

CACHESTAT = 451
"""The same number on all architectures."""
PAGE = mmap.PAGESIZE
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _Stat(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in ("cached", "dirty", "writeback", "evicted", "recently_evicted")
    )


def waiting(file: int, offset: int, length: int) -> int:
    """Pages of an open file in a range (0: to its end) that are not on the disk yet."""
    found = _Stat()
    where = _Range(offset, length)
    if _LIBC.syscall(CACHESTAT, file, ctypes.byref(where), ctypes.byref(found), 0):
        raise OSError(ctypes.get_errno(), "cachestat")
    return int(found.dirty + found.writeback)


def why_not(folder: Path) -> str:
    """Why it cannot be told here what is on the disk; empty where it can."""
    probe = folder / "probe"
    with probe.open("wb") as file:
        file.write(bytes(PAGE))
        file.flush()
        try:
            before = waiting(file.fileno(), 0, 0)
            os.fsync(file.fileno())
            after = waiting(file.fileno(), 0, 0)
        except OSError as error:
            return f"this kernel has no cachestat ({error})"
        finally:
            probe.unlink()
    return "" if (before, after) == (1, 0) else "this file system does not tell what is on the disk"


def copy_synced(source: Path, target: Path) -> int:
    """Copy what is on the disk; how many pages were left out. Nobody may write meanwhile."""
    left_out = 0
    for path in sorted(source.rglob("*")):
        to = target / path.relative_to(source)
        if path.is_dir():
            to.mkdir(parents=True, exist_ok=True)
        elif path.is_file():
            to.parent.mkdir(parents=True, exist_ok=True)
            left_out += _copy(path, to)
    return left_out


def _copy(path: Path, to: Path) -> int:
    with path.open("rb") as file:
        data = bytearray(file.read())
        if not waiting(file.fileno(), 0, 0):
            to.write_bytes(data)
            return 0
        left_out, end = 0, 0
        for offset in range(0, len(data), PAGE):
            if waiting(file.fileno(), offset, PAGE):
                size = min(PAGE, len(data) - offset)
                data[offset : offset + size] = bytes(size)
                left_out += 1
            else:
                end = min(offset + PAGE, len(data))
    to.write_bytes(data[:end])
    return left_out
