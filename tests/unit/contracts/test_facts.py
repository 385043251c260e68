"""What people are told of a training."""

import msgspec

from driftloop.contracts import events as e
from driftloop.contracts.facts import line
from tests.support.tiny_models import manifest

SINCE = e.Window(name="since_change", rows=400, loss=0.1, seconds=0.31, chosen=True)
NEWEST = e.Window(name="newest", rows=900, loss=0.2, seconds=1.52)
SKIPPED = e.Window(name="weighted", skipped="no weights")


def told(*tried: e.Window) -> str:
    made = msgspec.structs.replace(manifest(1, b"onnx"), window="400 rows", tried=tried)
    return line(
        e.CandidateTrained(model="m", run="r", version=1, manifest=made, manifest_sha256="")
    )


def test_the_seconds_of_each_fit_are_told_where_there_were_several() -> None:
    assert "window 400 rows, " in told(NEWEST, SINCE, SKIPPED)
    assert " s, of which newest 1.5 s, since_change 0.3 s (" in told(NEWEST, SINCE, SKIPPED)


def test_of_one_fit_and_of_a_manifest_of_before_only_the_whole_time_is_told() -> None:
    assert "of which" not in told(SINCE, SKIPPED)
    assert "of which" not in told()
