"""The configuration of `deploy/nats` on a real server, with a folder of keys for each."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.rights import ADMIN, USERS
from driftloop.contracts.errors import InvalidInput
from driftloop.local import nats
from driftloop.local.ports import free_port
from tests.support import synthetic as syn

DEPLOYED: Final = Path(__file__).parents[2] / "deploy/nats/nats.conf"


def cli(*arguments: str) -> str:
    """What a command says; it must succeed."""
    command = [sys.executable, "-m", "driftloop.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def deployed(tmp_path: Path) -> Path:
    """The configuration in a folder, and the keys beside it as the documents say."""
    text = DEPLOYED.read_text().replace("/data/jetstream", str(tmp_path / "data"))
    (tmp_path / "nats.conf").write_text(text)
    cli("keys", "make", "--folder", str(tmp_path / "keys"), "--apart")
    return tmp_path


@contextlib.contextmanager
def running(folder: Path) -> Iterator[str]:
    """The server, on ports of the test's own."""
    port, page = free_port(), free_port()
    places = ["-a", "127.0.0.1", "-p", str(port), "-m", str(page)]
    with (folder / "nats.log").open("wb") as log:
        command = [nats.binary(), "-c", str(folder / "nats.conf"), *places]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            server = nats.NatsServer(folder, port=port)
            server.process = process
            server.wait()
            yield f"nats://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def test_the_server_takes_the_configuration(deployed: Path) -> None:
    command = [nats.binary(), "-t", "-c", str(deployed / "nats.conf")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


def test_each_folder_has_one_key_and_the_servers_has_none(deployed: Path) -> None:
    keys = deployed / "keys"
    for user in USERS:
        assert {path.name for path in (keys / user).iterdir()} == {f"{user}.nk", "public.json"}
        assert (keys / user / f"{user}.nk").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (keys / "nats").iterdir()] == ["authorization.conf"]
    conf = (keys / "nats/authorization.conf").read_text()
    assert not any((keys / f"{user}.nk").read_text().strip() in conf for user in USERS)


async def test_services_log_in_with_their_folders_and_keep_to_their_rights(deployed: Path) -> None:
    keys = deployed / "keys"
    with running(deployed) as url:
        cli("provision", "--url", url, "--folder", str(keys / ADMIN))
        drift = await Bus.open(url, "drift", keys=str(keys / "drift"))
        try:
            await drift.emit(syn.alarm("flights", 1))
            kept = await drift.log.last("EVENTS", "events.flights.drift.detected")
            assert kept is not None
            assert kept.event() == syn.alarm("flights", 1)
        finally:
            await drift.close()
        with pytest.raises(InvalidInput, match=r"registry\.nk"):
            await Bus.open(url, "registry", keys=str(keys / "drift"))


def test_a_caller_that_is_added_gets_a_folder_and_the_server_hears_of_it(deployed: Path) -> None:
    keys = deployed / "keys"
    before = (keys / "nats/authorization.conf").read_text()
    cli("keys", "add", "till", "--model", "flights", "--folder", str(keys))
    assert {path.name for path in (keys / "till").iterdir()} == {"till.nk", "public.json"}
    assert (keys / "nats/authorization.conf").read_text() != before
    cli("keys", "remove", "till", "--folder", str(keys))
    assert not list(keys.rglob("till.nk"))
    assert (keys / "nats/authorization.conf").read_text() == before
