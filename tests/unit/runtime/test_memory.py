import platform
import subprocess
import sys

import pytest

from driftloop.runtime.memory import keep_freed

MAPPED = """
import ctypes, sys
from driftloop.runtime.memory import keep_freed

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
        "fordblks", "keepcost")]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info
if sys.argv[1] == "kept":
    assert keep_freed()
before = mallinfo().hblks
blocks = [bytearray(1 << 20), bytearray(3 << 20), bytearray(int(sys.argv[2]))]
print(mallinfo().hblks - before)
"""


GROWN = """
import sys
import psutil
import pyarrow as pa
from driftloop.runtime.memory import keep_freed

if sys.argv[1] == "kept":
    assert keep_freed()
before = psutil.Process().memory_info().rss
for rows in range(20_000, 200_000, 4_000):
    pa.nulls(rows, pa.int64())
print(psutil.Process().memory_info().rss - before >> 20)
"""


GIVEN = """
import sys
import psutil
from driftloop.runtime.memory import give_back

blocks = [bytes(2_000) for _ in range(50_000)]
last = bytes(2_000)  # it keeps the heap from shrinking at its end
del blocks
if sys.argv[1] == "given":
    give_back()
print(psutil.Process().memory_info().rss >> 20)
"""


def mapped(how: str, size: int) -> int:
    """How many of three blocks (1 MiB, 3 MiB, `size` bytes) are mapped anew."""
    command = [sys.executable, "-c", MAPPED, how, str(size)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_large_blocks_come_from_the_heap_and_huge_ones_do_not() -> None:
    assert mapped("usual", 1 << 20) == 3
    assert mapped("kept", 1 << 20) == 0
    assert mapped("kept", 64 << 20) == 1


def test_where_there_is_no_glibc_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert not keep_freed()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_arrow_uses_the_memory_of_one_batch_again_for_the_next() -> None:
    """Each of 45 batches of up to 1.5 MiB is freed before the next is made."""
    command = [sys.executable, "-c", GROWN, "kept"]
    assert int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) <= 10


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_free_memory_is_given_back() -> None:
    def resident(how: str) -> int:
        command = [sys.executable, "-c", GIVEN, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert resident("given") < resident("kept") - 50
