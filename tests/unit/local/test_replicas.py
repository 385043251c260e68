from pathlib import Path

import pytest

from driftloop.contracts.errors import InvalidInput
from driftloop.local.replicas import parse
from driftloop.local.system import System


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ([], {}),
        (["inference=2"], {"inference": 2}),
        (["inference=2,feedback=3", "drift = 1"], {"inference": 2, "feedback": 3, "drift": 1}),
        (["trainer=1"], {"trainer": 1}),
    ],
)
def test_replicas_are_said_one_by_one_or_with_commas(
    texts: list[str], found: dict[str, int]
) -> None:
    assert parse(texts) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("inference", "'inference'; accepted: SERVICE=COUNT"),
        ("inference=two", "'inference=two'; accepted: SERVICE=COUNT"),
        ("inference=-1", "'inference=-1'; accepted: SERVICE=COUNT"),
        ("inference=2,", "''; accepted: SERVICE=COUNT"),
        ("inference=0", "'inference=0'; accepted: inference from 1 to 16"),
        ("drift=17", "'drift=17'; accepted: drift from 1 to 16"),
        ("infer=2", "'infer=2'; accepted: one of the services ingest, validation, inference,"),
        ("drift=2,drift=3", "'drift=3'; accepted: each service once; drift=2 was before"),
        ("telemetry=2", "'telemetry=2'; accepted: telemetry=1, its tables are in a folder"),
        ("registry=2", "'registry=2'; accepted: registry=1, it alone moves models"),
        ("trainer=2", "'trainer=2'; accepted: trainer=1, it takes one request after the other"),
        ("console=2", "'console=2'; accepted: console=1, each would show a page of its own"),
    ],
)
def test_what_cannot_be_is_named_with_what_is_accepted(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse([text])
    assert str(caught.value).startswith(f"replicas: {said}")


def test_the_first_replica_has_the_known_port_and_the_others_have_ports_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTLOOP_INFERENCE_GRPC_PORT", "8899")
    system = System(tmp_path, replicas={"inference": 3})
    names = [name for name, child in system.children.items() if child.service == "inference"]
    assert names == ["inference", "inference-2", "inference-3"]
    assert system.http("inference") == "http://127.0.0.1:8802"
    ports = [child.port for child in system.children.values()]
    grpc = [int(port) for child in system.children.values() for port in child.variables.values()]
    assert len(ports) == 11
    assert len(grpc) == 2
    assert len({*ports, *grpc, 8899, system.nats.port}) == 15


def test_models_cannot_be_loaded_by_hand_in_one_of_several_replicas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTLOOP_INFERENCE_MODEL_CONTROL", "true")
    System(tmp_path)
    with pytest.raises(InvalidInput, match="model_control: true with 2 replicas of inference"):
        System(tmp_path, replicas={"inference": 2})
