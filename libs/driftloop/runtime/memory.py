"""The memory allocators of the process: what they keep for later, and what they give back."""

import ctypes
import sys
from typing import Final

import pyarrow as pa

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
"""Names and numbers are those of `mallopt(3)` in glibc."""
KEPT_BYTES: Final = 16 << 20
LARGE_BYTES: Final = 4 << 20


def keep_freed() -> bool:
    """Let the process use the memory of one batch again for the next, Arrow's too.

    Of fresh memory the kernel has to clear each page. By default glibc maps each block from 128 KiB
    on anew, and Arrow's own allocator takes fresh huge pages for each new size of a block: the
    first 16,000 rows of a flood held up the validation for 60 ms, two thirds of which the kernel
    cleared pages. Here blocks up to 4 MiB come from the heap, of which up to 16 MiB are kept when
    they are free, and Arrow takes its blocks there too. Returns whether the allocator can do it;
    another than glibc's is left as it is.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    pa.set_memory_pool(pa.system_memory_pool())
    return all((mallopt(M_MMAP_THRESHOLD, LARGE_BYTES), mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)))


def give_back() -> None:
    """Give free memory back to the system, after work that took much and comes seldom."""
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
