import pytest

from driftloop.cli.reference import metrics
from driftloop.cli.reference.metrics import Known, of_source, problems


def test_every_metric_follows_the_conventions_and_says_what_it_means() -> None:
    known = metrics.metrics()
    assert {m.service for m in known} >= {"ingest", "inference", metrics.EVERY}
    assert problems(known) == []


def test_no_metric_is_made_past_the_door_that_the_page_is_read_from() -> None:
    doors = {
        "runtime/metrics.py",
        "runtime/http.py",
        "runtime/spans.py",
        "inference/core/meters.py",
        "cli/reference/metrics.py",
    }
    found = {
        metrics._where(path, root)
        for path, root in metrics._modules()
        if "prometheus_client" in path.read_text() and "/bench/" not in path.as_posix()
    }
    assert found == doors


def test_what_a_module_makes_is_read_with_its_labels_and_text() -> None:
    source = """
    A = metrics.counter("rows", "Rows " "seen", ["model"])
    B = metrics.histogram("run_seconds", "Time of a run", buckets=metrics.LONG_BUCKETS)
    """
    made = list(of_source("if True:" + source, "drift/handlers.py"))
    assert made[0][:5] == ("driftloop_rows_total", "counter", ("model",), "Rows seen", "drift")
    assert (made[1].name, made[1].kind, made[1].unit) == (
        "driftloop_run_seconds",
        "histogram",
        "seconds",
    )


def test_a_metric_whose_name_or_text_is_not_in_the_code_is_told() -> None:
    for call in ('metrics.gauge("rows")', "metrics.gauge(name, 'Rows')"):
        with pytest.raises(ValueError, match=r"drift/a\.py:1: a metric without a name and a text"):
            list(of_source(call, "drift/a.py"))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (("driftloop_rows_total", "counter", (), ""), "text ''"),
        (("driftloop_rows_total", "counter", (), "Rows."), "text 'Rows.'"),
        (("driftloop_rows_total_total", "counter", (), "Rows"), "ends with total"),
        (("driftloop_wait_ms", "gauge", (), "Time"), "unit ms"),
        (("driftloop_wait", "histogram", (), "Time"), "without a unit"),
        (("driftloop_Rows", "gauge", (), "Rows"), "lower case"),
        (("driftloop_rows", "gauge", ("event_id",), "Rows"), "label event_id"),
        (("driftloop_rows", "gauge", ("instance",), "Rows"), "label instance"),
    ],
)
def test_what_breaks_a_convention_is_named(
    wrong: tuple[str, str, tuple[str, ...], str], why: str
) -> None:
    (said,) = problems([Known(*wrong, "drift", "drift/handlers.py")])
    assert why in said
