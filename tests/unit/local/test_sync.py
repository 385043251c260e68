from pathlib import Path

import pytest

from driftloop.contracts.errors import InvalidInput
from driftloop.local.nats import NatsServer, check_sync
from driftloop.local.system import System


@pytest.mark.parametrize("text", ["always", "2m", "10s", "500ms"])
def test_what_nats_takes_is_accepted(text: str) -> None:
    assert check_sync(text) == text


@pytest.mark.parametrize("text", ["", "never", "0s", "10", "2h", "-1s", '2m"\n x: "', "always\n"])
def test_what_is_no_interval_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(InvalidInput, match="accepted: always, or a time such as 2m or 10s"):
        check_sync(text)


def test_a_failed_write_is_found_in_the_log_of_the_server(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    said = tmp_path / "nats.log"
    said.write_text("[INF] ready\n")
    server.look()
    assert not server.broken
    with said.open("a") as log:
        log.write("[ERR] JetStream stream '$G > ROWS' critical write error: no space left\n")
    server.look()
    assert server.broken


@pytest.mark.parametrize(
    ("option", "variable", "wanted"),
    [("", "", "2m"), ("", "10s", "10s"), ("always", "", "always"), ("always", "10s", "always")],
)
def test_the_option_wins_over_the_variable_and_that_over_two_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, variable: str, wanted: str
) -> None:
    if variable:
        monkeypatch.setenv("DRIFTLOOP_NATS_SYNC", variable)
    system = System(tmp_path, base_port=0, nats_port=0, services=(), sync=option)
    system.nats.launch()
    system.nats.kill()
    assert f'sync_interval: "{wanted}"' in (tmp_path / "nats" / "nats.conf").read_text()


def test_a_wrong_interval_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTLOOP_NATS_SYNC", "sometimes")
    with pytest.raises(InvalidInput, match="sync: 'sometimes'"):
        System(tmp_path, base_port=0, nats_port=0)
