from pathlib import Path

import pytest

from driftloop.contracts.errors import InvalidInput
from driftloop.local.passed_on import passed_on
from driftloop.local.ports import free_port
from driftloop.local.system import System


def test_settings_of_services_and_harmless_shared_ones_go_on() -> None:
    given = {
        "DRIFTLOOP_INFERENCE_GRPC_PORT": "8810",
        "DRIFTLOOP_INFERENCE_WORKERS": "2",
        "DRIFTLOOP_DRIFT_LOG_LEVEL": "debug",
        "DRIFTLOOP_LOG_FORMAT": "json",
        "DRIFTLOOP_NATS_LOG_GB": "2",
        "DRIFTLOOP_STATS_SECONDS": "5",
    }
    assert passed_on({**given, "HOME": "/x"}) == (given, [])


def test_what_the_starter_decides_is_left_out_and_named() -> None:
    left = [
        "DRIFTLOOP_CLICKHOUSE_URL",
        "DRIFTLOOP_HOST",
        "DRIFTLOOP_INFERENCE_PORT",
        "DRIFTLOOP_NATS_REPLICAS",
        "DRIFTLOOP_PORT",
        "DRIFTLOOP_TELEMETRY_CLICKHOUSE_URL",
        "DRIFTLOOP_TELEMETRY_PATH",
    ]
    assert passed_on(dict.fromkeys(left, "1")) == ({}, left)


def test_the_address_the_commands_read_is_left_out_without_a_word() -> None:
    assert passed_on({"DRIFTLOOP_NATS_URL": "nats://a"}) == ({}, [])


def test_what_only_commands_read_is_no_setting() -> None:
    assert passed_on({"DRIFTLOOP_CONSOLE": "http://a", "DRIFTLOOP_TOKEN": "x"}) == ({}, [])


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("DRIFTLOOP_INFERENCE_WORKER", "DRIFTLOOP_INFERENCE_WORKERS"),
        ("DRIFTLOOP_INFERENC_WORKERS", "DRIFTLOOP_<SERVICE>_<NAME> for one of ingest"),
        ("DRIFTLOOP_LOG_LEVLE", "DRIFTLOOP_LOG_LEVEL"),
        ("DRIFTLOOP_WORKER", "DRIFTLOOP_LOG_LEVEL"),
    ],
)
def test_a_misspelt_variable_is_named_once_with_what_is_accepted(name: str, accepted: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        passed_on({name: "2"})
    assert str(caught.value).startswith(f"{name}: '2' is not a setting; accepted: ")
    assert accepted in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"DRIFTLOOP_INFERENCE_WORKERS": "many"}, "settings of inference: Expected `int`"),
        ({"DRIFTLOOP_STATS_SECONDS": "soon"}, "settings of ingest: Expected `float`"),
        (
            {"DRIFTLOOP_INFERENCE_WORKERS": "2", "DRIFTLOOP_INFERENCE_GRPC_PORT": "0"},
            "grpc_port: 0 with workers 2",
        ),
        (
            {"DRIFTLOOP_INFERENCE_WORKERS": "2", "DRIFTLOOP_INFERENCE_MODEL_CONTROL": "true"},
            "model_control: true with workers 2",
        ),
    ],
)
def test_a_value_that_its_service_would_refuse_is_an_error_here(
    given: dict[str, str], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        passed_on(given)


def test_a_system_knows_what_inference_will_listen_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTLOOP_INFERENCE_GRPC_PORT", "8810")
    monkeypatch.setenv("DRIFTLOOP_INFERENCE_PORT", "9999")
    monkeypatch.setenv("DRIFTLOOP_INFERENCE_TLS_CERT", "cert.pem")
    system = System(tmp_path)
    assert system.grpc == "127.0.0.1:8810"
    assert system.http("inference") == "https://127.0.0.1:8802"
    assert system.http("console") == "http://127.0.0.1:8800"


async def test_a_port_for_grpc_that_has_another_use_is_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("DRIFTLOOP_INFERENCE_GRPC_PORT", str(port))
    system = System(tmp_path, base_port=0, nats_port=port)
    try:
        with pytest.raises(RuntimeError, match=f"_INFERENCE_GRPC_PORT: {port} has another use"):
            await system.start()
    finally:
        await system.stop()
    assert system.nats.process is None
