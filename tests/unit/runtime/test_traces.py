import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import REGISTRY

from driftloop.bus.messages import Delivered
from driftloop.bus.observed import begun, ended
from driftloop.contracts.errors import InvalidInput
from driftloop.local.ports import free_port
from driftloop.runtime import spans, traces
from tests.support.otlp import Receiver, receiver

TRACE = "a" * 32
CALLER = f"00-{TRACE}-{'b' * 16}-01"
SECONDS = 10.0


@pytest.fixture
def its(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(spans, "EXPORT_SECONDS", 0.2)
    monkeypatch.setattr(spans, "EVERY_SECONDS", 0.02)
    with receiver() as made:
        yield made
        traces.close()


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("driftloop_trace_spans_total", {"outcome": outcome}) or 0.0


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def message(traceparent: str) -> Delivered:
    return Delivered(
        subject="rows.m.valid.live",
        payload=b"",
        headers={"traceparent": traceparent, "dl-rows": "3"},
        stream="ROWS",
        seq=7,
    )


def test_without_a_receiver_nothing_is_imported_and_contexts_are_passed_on() -> None:
    code = (
        "import sys, driftloop.runtime.serve\n"
        "sdk = ('opentelemetry.sdk', 'opentelemetry.exporter')\n"
        "assert not any(name.startswith(sdk) for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with traces.entering("in", CALLER) as span:
        assert (span.recorded, span.traceparent) == (False, "")
    with traces.span("made", CALLER) as span:
        assert (span.recorded, span.traceparent) == (False, CALLER)
    assert begun("work", [message(CALLER)]) == ([message(CALLER)], ())


def test_a_caller_who_samples_is_followed_for_the_share_of_traces_that_is_wanted(
    its: Receiver,
) -> None:
    traces.configure("test", its.url, 0.5)
    low, high = (f"00-{'c' * 16}{part}{'0' * 15}-{'b' * 16}-01" for part in "7f")
    with traces.entering("in", low) as span:
        assert span.traceparent[:36] == low[:36]
        assert span.recorded
    with traces.entering("in", high) as span:
        assert (span.recorded, span.traceparent) == (False, high[:-2] + "00")
    with traces.entering("in", low[:-2] + "00") as span:
        assert not span.recorded
    until(lambda: len(its.spans) == 1)
    assert (its.spans[0].service, its.spans[0].parent) == ("test", "b" * 16)


@pytest.mark.parametrize(("ratio", "recorded"), [(0.0, False), (1.0, True)])
def test_who_comes_without_a_trace_is_chosen_by_the_ratio(
    its: Receiver, ratio: float, recorded: bool
) -> None:
    traces.configure("test", its.url, ratio)
    for caller in ("", "rubbish", "00-zz-11-01"):
        with traces.entering("in", caller) as span:
            assert span.recorded is recorded


def test_what_is_made_of_several_inputs_goes_on_from_the_first_sampled_and_links_the_others(
    its: Receiver,
) -> None:
    traces.configure("test", its.url, 1.0)
    other = f"00-{'d' * 32}-{'e' * 16}-01"
    inputs = [f"00-{'f' * 32}-{'e' * 16}-00", CALLER, other, CALLER]
    with pytest.raises(KeyError), traces.span("made", *inputs, kind="producer", rows=2):
        raise KeyError("what went wrong")
    until(lambda: bool(its.spans))
    (span,) = its.of(TRACE)
    assert (span.parent, span.links) == ("b" * 16, (("d" * 32, "e" * 16),))
    assert span.attributes == {"driftloop.rows": 2, "error.type": "KeyError"}


def test_a_message_of_a_sampled_trace_is_handled_in_a_span_that_its_answers_go_on_from(
    its: Receiver,
) -> None:
    traces.configure("test", its.url, 1.0)
    before = [message(CALLER[:-2] + "00"), message(CALLER)]
    (plain, traced), made = begun("validation-rows", list(before))
    assert plain is before[0]
    ended(made)
    until(lambda: bool(its.spans))
    (span,) = its.spans
    assert traced.origin().traceparent == f"00-{TRACE}-{span.id}-01"
    assert traced.headers == before[1].headers
    assert span.attributes["messaging.consumer.group.name"] == "validation-rows"
    assert span.attributes["driftloop.position"] == "ROWS:7"


def test_a_receiver_that_refuses_costs_its_spans_and_nothing_else(its: Receiver) -> None:
    its.status = 503
    failed, exported = counted("failed"), counted("exported")
    traces.configure("test", its.url, 1.0)
    with traces.entering("in"):
        pass
    until(lambda: counted("failed") == failed + 1)
    its.status = 200
    with traces.entering("in"):
        pass
    until(lambda: counted("exported") == exported + 1)
    assert len(its.spans) == 1


def test_spans_beyond_the_queue_are_dropped_and_counted_while_the_receiver_is_away(
    its: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "EVERY_SECONDS", 60.0)
    monkeypatch.setattr(spans, "MOST_WAITING", 10)
    full, failed = counted("full"), counted("failed")
    traces.configure("test", f"http://127.0.0.1:{free_port()}", 1.0)
    for _ in range(25):
        with traces.entering("in"):
            pass
    assert counted("full") == full + 15
    traces.close()
    assert counted("failed") == failed + 10


def test_remembered_contexts_are_bounded_and_what_is_forgotten_is_counted(its: Receiver) -> None:
    traces.configure("test", its.url, 1.0)
    forgotten = REGISTRY.get_sample_value("driftloop_trace_contexts_dropped_total") or 0.0
    remembered = traces.Remembered(most=2)
    remembered.keep(1, CALLER[:-2] + "00")
    assert not remembered
    for seq in (1, 2, 3):
        remembered.keep(seq, CALLER)
    assert remembered.of([1, 2, 3, 4]) == [CALLER, CALLER]
    assert REGISTRY.get_sample_value("driftloop_trace_contexts_dropped_total") == forgotten + 1


def test_the_address_of_the_receiver_has_the_usual_path_unless_it_says_another() -> None:
    assert traces.endpoint_of("http://otel:4318") == "http://otel:4318/v1/traces"
    assert traces.endpoint_of("http://otel:4318/") == "http://otel:4318/v1/traces"
    assert traces.endpoint_of("https://otel/in/v1/traces") == "https://otel/in/v1/traces"
    for wrong in ("otel:4318", "ftp://otel", "http://"):
        with pytest.raises(InvalidInput, match=r"traces_url: .* accepted: http"):
            traces.endpoint_of(wrong)
