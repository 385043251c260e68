"""The process of a shadow whose model misbehaves: the model's bytes say how, in words.

It is served by the loop of the real process. Where it answers, a row of `x` has [x, 1 - x].
"""

import ctypes
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from driftloop.inference.shadowing import child, frames

LEAK: list[Any] = []


def load(data: bytes, features: int, width: int) -> child.Run:
    """A model by its words: what it does before it answers, and perhaps a path."""
    words = data.decode().split()
    if words[0] == "refuses":
        raise ValueError("a model of no use")

    def run(matrix: Any) -> Any:
        act(words, matrix)
        if words[0] == "narrow":
            return matrix[:, :1]
        if words[0] == "nan":
            return np.full((len(matrix), width), np.nan, np.float32)
        return np.stack([matrix[:, 0], 1 - matrix[:, 0]], axis=1)

    return run


def act(words: list[str], matrix: Any) -> None:
    """What happens before the answer; some of it only if the first number is negative."""
    first = float(matrix[0, 0])
    match words[0]:
        case "leaks":
            LEAK.append(np.ones(8 << 20, np.uint8))
        case "sleeps":
            time.sleep(float(words[1]))
        case "waits":  # until there is a file named by the first number
            while not (Path(words[1]) / str(int(first))).exists():
                time.sleep(0.005)
        case _ if first < 0:
            misbehave(words[0])


def misbehave(how: str) -> None:
    """What a broken or hostile model does."""
    match how:
        case "raises":
            raise ValueError("a negative number")
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfaults":
            ctypes.string_at(0)
        case "lies":
            say(frames.Header(frames.ANSWER, 999, 1, 2, 8))
        case "floods":
            say(frames.Header(frames.ANSWER, 1, 1 << 20, 1 << 10, 1 << 32))
        case "huge":
            np.ones(1 << 40, np.uint8)


def say(header: frames.Header) -> None:
    """Say something out of turn, and nothing more."""
    line = socket.socket(fileno=int(sys.argv[1]))
    line.sendall(header.encode() + bytes(8))
    time.sleep(60)


if __name__ == "__main__":
    child.main(load)
