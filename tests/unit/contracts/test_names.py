import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contracts import requests, subjects
from driftloop.contracts.errors import InvalidName
from driftloop.contracts.names import check_model_name, digest, run_id


@pytest.mark.parametrize("name", ["a", "flights", "a-b_c9", "0", "x" * 63])
def test_names_that_may_stand_in_a_subject(name: str) -> None:
    assert check_model_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "../x", "a.b", "*", ">", " ", "a b", "x\n", "x" * 64, "Ä", "A", "-a", "_a", "a\x00"],
)
def test_names_that_may_not(name: str) -> None:
    with pytest.raises(InvalidName, match="is not a model name; accepted: 1 to 63 characters"):
        check_model_name(name)


@given(st.text(max_size=80))
def test_no_name_widens_a_subject(name: str) -> None:
    try:
        made = [
            subjects.rows(name, "valid"),
            subjects.labels(name),
            subjects.scored(name),
            subjects.outcomes(name),
            subjects.event(name, "model.promoted"),
            subjects.stats("join", name),
            subjects.dead("drift", name),
            requests.infer(name),
            requests.command(name),
            requests.send(name, "rows"),
        ]
    except InvalidName:
        return
    for subject in made:
        assert not set(subject) & set("*> \t\r\n")
        if subject.split(".")[0] not in ("stats", "infer", "command", "ingest"):
            assert subjects.model_of(subject) == name


def test_the_run_of_a_trigger_has_always_the_same_id() -> None:
    assert run_id("drift.detected:m:1") == run_id("drift.detected:m:1") != run_id("other")
    assert digest(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
