"""Ports that are given out are nobody else's until they are used."""

import socket
import subprocess
import sys

import pytest

from driftloop.local import ports
from driftloop.local.ports import free_port, is_free, require_free

ELSEWHERE = """
from driftloop.local import ports
ports.FREE_PORTS = range({port}, {port} + 1)
print(ports.free_port())
"""


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> range:
    """A range of ports of which all are free now."""
    first = free_port(together=4)
    for _ in range(4):
        ports._kept.pop().close()
    monkeypatch.setattr(ports, "FREE_PORTS", range(first, first + 4))
    return ports.FREE_PORTS


def test_each_port_is_given_out_once(few: range) -> None:
    assert sorted(free_port() for _ in few) == list(few)
    with pytest.raises(RuntimeError, match=rf"no free port on 127\.0\.0\.1 .* from {few.start} to"):
        free_port()


def test_not_in_another_process_either() -> None:
    port = free_port()
    command = [sys.executable, "-c", ELSEWHERE.format(port=port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "no free port" in done.stderr
    ports._kept.pop().close()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) == port


def test_whom_it_was_given_listens_there_alone_or_with_its_workers(few: range) -> None:
    port = free_port()
    require_free("127.0.0.1", port, "port", seconds=0.0)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(RuntimeError, match="is taken"):
        require_free("127.0.0.1", port, "port", seconds=0.0)
    assert is_free("127.0.0.1", port)
    with (
        socket.create_server(("127.0.0.1", port), reuse_port=True),
        socket.create_server(("127.0.0.1", port), reuse_port=True),
    ):
        assert not is_free("127.0.0.1", port)


def test_ports_in_a_row_are_all_kept(few: range) -> None:
    assert free_port(together=len(few)) == few.start
    with pytest.raises(RuntimeError, match="no free port"):
        free_port()


def test_old_ones_are_given_up(few: range, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "MOST_KEPT", 3)
    first = free_port()
    rest = {free_port() for _ in range(3)}
    assert len(rest | {first}) == 4
    assert free_port() == first
