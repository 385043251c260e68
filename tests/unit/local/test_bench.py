import asyncio
import os
from pathlib import Path

import msgspec
import pytest

from driftloop.contracts.errors import InvalidInput
from driftloop.local.bench import wrk
from driftloop.local.bench.job import Job, write_bodies
from driftloop.local.bench.loadgrpc import DATA, HEADERS, SETTINGS, WINDOW_UPDATE, GrpcWindow, frame
from driftloop.local.bench.processes import Meter, last_words
from driftloop.local.bench.rig import parsed
from driftloop.local.bench.run import Options, run_bench
from driftloop.local.bench.samples import (
    Counts,
    Sample,
    Usage,
    line,
    paired_ratio,
    quantile,
    sample,
)
from driftloop.local.bench.targets import fits, given
from driftloop.local.bench.workloads import WORKLOADS, chosen

COUNTED = (
    'counted {"requests":1000,"seconds":2.000000,"p50_ms":1.500000,"p99_ms":9.000000,'
    '"refused":10,"broken":3}'
)


def rates(*values: float | None) -> list[Sample]:
    return [Sample(requests_per_s=value) for value in values]


def test_the_ratio_is_the_median_of_ratios_within_a_repeat() -> None:
    # The machine is twice as fast in the second repeat: ratio of medians 1.5, but each pair says 2.
    assert paired_ratio([200.0, 400.0, 300.0], [100.0, 200.0, 150.0]) == 2.0
    assert paired_ratio([10.0, 90.0, 20.0], [10.0, 10.0, 10.0]) == 2.0


def test_a_repeat_without_one_of_both_is_in_no_ratio() -> None:
    assert paired_ratio([None, 30.0], [10.0, 10.0]) == 3.0
    assert paired_ratio([10.0], [None]) is None
    assert paired_ratio([], []) is None


def test_a_line_holds_medians_and_sums_of_errors_and_disturbed_runs() -> None:
    mine = [
        Sample(requests_per_s=rate, p50_ms=1.0, errors=errors, disturbed=disturbed)
        for rate, errors, disturbed in [(100.0, 0, False), (900.0, 2, True), (300.0, 1, True)]
    ]
    made = line("ours", mine, rates(100.0, 100.0, 100.0), "requests_per_s", "yes")
    assert (made.median.requests_per_s, made.ratio, made.median.p50_ms) == (300.0, 3.0, 1.0)
    assert (made.median.errors, made.disturbed, made.samples) == (3, 2, 3)
    assert made.median.cpu_us is None


def test_failed_requests_are_no_throughput_but_cost_cpu() -> None:
    counts = Counts(requests=600, errors=400, seconds=2.0, p50_ms=1.0, p99_ms=2.0, client_cores=0.5)
    made = sample(counts, Usage(cpu_seconds=0.1, rss_bytes=3 << 20, other_cores=0.2), rows=256)
    assert made.requests_per_s == 300.0
    assert made.rows_per_s == 300.0 * 256
    assert made.cpu_us == pytest.approx(100.0)
    assert made.rss_mb == 3.0
    assert made.disturbed


def test_a_run_is_disturbed_above_the_bound_and_not_where_nothing_is_known() -> None:
    assert not Usage(other_cores=0.15).disturbed
    assert Usage(other_cores=0.16).disturbed
    assert not Usage().disturbed


def test_quantiles_are_values_that_were_seen() -> None:
    values = [float(n) for n in range(100)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile([], 0.5)) == (50.0, 99.0, 0.0)


def test_workloads_are_named_with_commas_and_each_once() -> None:
    assert [one.name for one in chosen("w2-binary, w1,w1")] == ["w2-binary", "w1"]


@pytest.mark.parametrize("text", ["w3", "", ",", "w1,w3"])
def test_an_unknown_workload_is_named_with_those_that_are_known(text: str) -> None:
    with pytest.raises(InvalidInput, match="accepted: w1, w2, w2-binary"):
        chosen(text)


def test_a_target_is_read_from_its_text() -> None:
    made = given(f"mine=rows=http://127.0.0.1:9/predict={os.getpid()}")
    assert (made.name, made.address.encoding, made.pid) == ("mine", "rows", os.getpid())
    assert made.address.url == "http://127.0.0.1:9/predict"
    assert given("mine=v2=http://h:1/x?a=b").address.url == "http://h:1/x?a=b"
    assert given("mine=grpc=grpc://h:81").address.url == "h:81"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("mine", "style ''"),
        ("mine=v3=http://h/", "style 'v3'"),
        ("mine=constant=http://h/", "style 'constant'"),
        ("=v2=http://h/", "accepted: NAME=STYLE"),
        ("mine=v2=h:80", "URL 'h:80'"),
        ("mine=v2=https://h/", "URL 'https://h/'"),
        ("mine=v2=grpc://h:81", "URL the http:// address that rows are posted to"),
        ("mine=grpc=http://h:81", "URL the grpc:// HOST:PORT"),
        ("mine=v2=http://h/=4194305", "no process has the id 4194305"),  # above any pid of Linux
    ],
)
def test_a_wrong_target_is_told_with_what_is_accepted(text: str, why: str) -> None:
    with pytest.raises(InvalidInput) as error:
        given(text)
    assert why in str(error.value)
    assert "accepted: " in str(error.value)


def test_a_target_may_not_take_the_name_of_another_server() -> None:
    with pytest.raises(InvalidInput, match="'naive' is taken"):
        parsed(("naive=v2=http://h/",))
    with pytest.raises(InvalidInput, match="'a' is taken"):
        parsed(("a=v2=http://h/", "a=rows=http://h/"))


def test_servers_of_others_take_the_workloads_they_can_read() -> None:
    took = {
        style: {name for name, one in WORKLOADS.items() if fits(given(f"x={style}=http://h/"), one)}
        for style in ("v2", "rows")
    }
    assert took == {"v2": {"w1", "w2", "w2-binary", "low"}, "rows": {"w1", "w2", "low"}}
    calls = given("x=grpc=grpc://h:81")
    assert {name for name, one in WORKLOADS.items() if fits(calls, one)} == {"grpc"}


def test_what_wrk_counted_is_read_from_its_last_line() -> None:
    made = wrk.counts(f"Running 2s test\n{COUNTED}\n", "", cpu_seconds=1.0)
    assert (made.requests, made.errors, made.seconds) == (990, 13, 2.0)
    assert (made.p50_ms, made.p99_ms, made.client_cores) == (1.5, 9.0, 0.5)


def test_what_wrk_could_not_do_is_told_in_its_words() -> None:
    with pytest.raises(RuntimeError, match="wrk: unable to connect to"):
        wrk.counts("", "unable to connect to 127.0.0.1:1 Connection refused\n", 0.0)


def test_without_wrk_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidInput, match="apt-get install wrk"):
        run_bench(Options(workloads="w1", folder=tmp_path), lambda _: None)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (Options(workloads="low", model="svm"), "model: 'svm' is not known; accepted: logreg, rf"),
        (Options(workloads="low", only=("apache",)), "server: 'apache' is not known"),
        (Options(workloads="low", baseline="apache"), "server: 'apache' is not known"),
    ],
)
def test_wrong_options_are_told_before_anything_starts(
    options: Options, why: str, tmp_path: Path
) -> None:
    steps: list[str] = []
    with pytest.raises(InvalidInput, match=why):
        run_bench(msgspec.structs.replace(options, folder=tmp_path), steps.append)
    assert not list(tmp_path.iterdir())


def test_nothing_is_measured_of_a_server_whose_processes_are_not_known() -> None:
    assert Meter(0).read() == Usage()


def test_our_own_cpu_is_the_servers_and_not_that_of_others() -> None:
    meter = Meter(os.getpid())
    began = os.times()
    while os.times().user + os.times().system - began.user - began.system < 0.2:
        sum(range(10_000))
    used = meter.read()
    assert used.cpu_seconds is not None
    assert used.cpu_seconds >= 0.19  # ticks of 10 ms
    assert used.rss_bytes is not None
    assert used.rss_bytes > 10 << 20


def test_the_last_words_of_a_silent_log(tmp_path: Path) -> None:
    assert last_words(tmp_path / "none.log") == "it said nothing"
    (tmp_path / "some.log").write_text("a\nb\nc\nd\n")
    assert last_words(tmp_path / "some.log") == "b | c | d"


class Sent(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += data

    def messages(self) -> int:
        """How many whole calls of 9,000 bytes were written since the last look."""
        found, self.data = self.data.count(b"x" * 9_000), b""
        return found


async def test_calls_are_held_back_until_the_server_has_room_for_them(tmp_path: Path) -> None:
    write_bodies(tmp_path / "bodies", [b"x" * 9_000])
    window = GrpcWindow(Job(address="h:1", bodies=str(tmp_path / "bodies"), in_flight=60))
    sent = Sent()
    window.connection_made(sent)
    window.begin(60)
    assert sent.messages() == 7  # 7 messages of 9,005 bytes in a window of 65,535
    for _ in range(53):
        window.data_received(frame(WINDOW_UPDATE, 0, 0, (9_005).to_bytes(4, "big")))
        assert sent.messages() == 1


async def test_frames_may_come_in_any_pieces(tmp_path: Path) -> None:
    write_bodies(tmp_path / "bodies", [b"x"])
    window = GrpcWindow(Job(address="h:1", bodies=str(tmp_path / "bodies"), in_flight=2))
    window.connection_made(Sent())
    window.begin(2)
    said = frame(SETTINGS, 0, 0, b"") + frame(HEADERS, 4, 1, b"\x88") + frame(DATA, 0, 1, b"m")
    said += frame(HEADERS, 5, 1, b"") + frame(HEADERS, 5, 3, b"")  # an answer, and a refusal
    for byte in said:
        window.data_received(bytes([byte]))
    assert window.ready.is_set()
    assert (len(window.latencies), window.errors) == (1, 1)
