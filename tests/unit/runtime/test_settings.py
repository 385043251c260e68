import msgspec
import pytest

from driftloop.contracts.errors import InvalidInput
from driftloop.inference.settings import InferenceSettings
from driftloop.runtime.settings import NICE, PORTS, SERVICES, Shared, load, variables


def test_without_variables_the_defaults_hold() -> None:
    expected = InferenceSettings(port=PORTS["inference"], nice=0)
    assert load(InferenceSettings, "inference", {}) == expected


def test_a_variable_of_the_service_wins_over_a_shared_one() -> None:
    found = load(
        InferenceSettings,
        "inference",
        {
            "DRIFTLOOP_INFERENCE_PORT": "9",
            "DRIFTLOOP_PORT": "8",
            "DRIFTLOOP_NATS_URL": "nats://a",
            "DRIFTLOOP_INFERENCE_SHADOW_SECONDS": "0.5",
            "HOME": "/x",
        },
    )
    assert (found.port, found.nats_url, found.shadow_seconds) == (9, "nats://a", 0.5)


def test_variables_of_other_services_are_not_ours_to_judge() -> None:
    assert load(Shared, "drift", {"DRIFTLOOP_INFERENCE_ANYTHING": "1"}).port == PORTS["drift"]


@pytest.mark.parametrize("name", ["DRIFTLOOP_NATS_ULR", "DRIFTLOOP_INFERENCE_SHADOWS"])
def test_a_misspelt_variable_is_an_error_that_says_what_there_is(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"{name}: '1' is not a setting of inference") as caught:
        load(InferenceSettings, "inference", {name: "1"})
    assert "DRIFTLOOP_INFERENCE_SHADOW_SECONDS" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "many"), ("SHADOW_SECONDS", "0"), ("GROUP", "0"), ("SESSIONS_MB", "-1")],
)
def test_a_value_of_the_wrong_type_or_size_is_an_error(name: str, value: str) -> None:
    with pytest.raises(InvalidInput, match=r"settings of inference: Expected .*" + name.lower()):
        load(InferenceSettings, "inference", {f"DRIFTLOOP_INFERENCE_{name}": value})


def test_every_service_has_a_port_of_its_own() -> None:
    assert set(PORTS) == set(SERVICES)
    assert len(set(PORTS.values())) == len(SERVICES)


def test_services_on_which_no_caller_waits_give_way() -> None:
    nice = {service: load(Shared, service, {}).nice for service in SERVICES}
    assert {service for service, level in nice.items() if level} == set(NICE)
    assert load(Shared, "drift", {"DRIFTLOOP_NICE": "3"}).nice == 3
    assert load(Shared, "drift", {"DRIFTLOOP_NICE": "3", "DRIFTLOOP_DRIFT_NICE": "0"}).nice == 0
    assert load(Shared, "ingest", {"DRIFTLOOP_NICE": "3"}).nice == 3


@pytest.mark.parametrize("level", ["-2", "20", "low"])
def test_how_nice_a_service_is_has_bounds(level: str) -> None:
    with pytest.raises(InvalidInput, match=r"settings of drift: Expected .*nice"):
        load(Shared, "drift", {"DRIFTLOOP_NICE": level})


def test_every_variable_of_a_service_is_read() -> None:
    fields = msgspec.structs.asdict(InferenceSettings(port=1))
    names = dict(zip(variables(InferenceSettings, "inference"), fields, strict=False))
    assert set(names) == set(variables(InferenceSettings, "inference"))
    assert len(names) == len(fields)
