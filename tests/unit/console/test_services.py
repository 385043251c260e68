"""Services by their last words: replicas, restarts, and what is gone."""

import msgspec
import pytest

from driftloop.console.api.shapes import Lag, Service
from driftloop.console.domain.board import Board
from driftloop.console.domain.instances import Heard
from driftloop.console.domain.services import Outages, gone, service
from driftloop.contracts.stats import ServiceStats
from tests.support import synthetic as syn

NOW = 1_800_000_000.0
SILENCE = 8.0


def said(pid: int, started: float, cpu: float = 1.0, **changed: object) -> ServiceStats:
    return msgspec.structs.replace(syn.service("drift", started, cpu), pid=pid, **changed)


def heard(*words: tuple[float, ServiceStats]) -> Heard:
    known = Heard(SILENCE)
    for at, stats in words:
        known.hear(at, stats)
    return known


def test_a_service_nobody_heard_of_is_not_ready() -> None:
    shown = service("drift", None, [], NOW)
    assert (shown.ready, shown.reason, shown.heard) == (False, "not heard of yet", None)


def test_a_silent_service_is_not_ready() -> None:
    shown = service("drift", heard((NOW, said(1, 5.0))), [], NOW + 100)
    assert (shown.ready, shown.reason, shown.instances) == (False, "silent for 100 s", 0)


def test_replicas_are_added_up_and_one_that_is_not_ready_is_told() -> None:
    words = []
    for second in range(0, 6, 2):
        words.append((NOW + second, said(1, 5.0, cpu=1.0 + second / 2)))
        words.append((NOW + second, said(2, 6.0, cpu=9.0 + second / 4, ready=False, reason="no")))
    shown = service("drift", heard(*words), [], NOW + 4)
    assert (shown.ready, shown.reason, shown.instances, shown.pid) == (False, "no", 2, 2)
    assert shown.cpu == pytest.approx(0.75)
    assert shown.memory_mb == pytest.approx(296)
    assert shown.restarts == 0


def test_a_process_that_takes_the_place_of_a_silent_one_is_a_restart_once() -> None:
    words = [(NOW, said(1, NOW - 50.0))]
    words += [(NOW + 3 + n, said(2, NOW + 2.0)) for n in range(0, 30, 2)]
    words += [(NOW + 40 + n, said(3, NOW + 39.0)) for n in range(0, 30, 2)]
    shown = service("drift", heard(*words), [], NOW + 70)
    assert (shown.restarts, shown.instances, shown.pid) == (2, 1, 3)


def test_a_second_replica_is_no_restart() -> None:
    words = []
    for second in range(0, 40, 2):
        words.append((NOW + second, said(1, NOW - 50.0)))
        if second > 6:
            words.append((NOW + second, said(2, NOW + 6.0)))
    shown = service("drift", heard(*words), [], NOW + 40)
    assert (shown.restarts, shown.instances) == (0, 2)


def test_processes_that_ended_are_forgotten() -> None:
    known = heard(*((NOW + 100.0 * n, said(n, NOW + 100.0 * n - 1)) for n in range(50)))
    assert len(known.instances) == 1
    assert known.restarts == 49


def test_rates_of_replicas_are_added_up() -> None:
    board = Board(10, 10, 10, SILENCE)
    for second in range(0, 6, 2):
        for pid, rate in ((1, 100.0), (2, 50.0)):
            counted = syn.service("inference", 5.0, 1.0, scored_rows__flights=rate * second)
            board.measure(NOW + second, msgspec.structs.replace(counted, pid=pid))
    assert board.models["flights"].scored.per_second(NOW + 4) == pytest.approx(150)


def shown(name: str, *, ready: bool = True, reason: str = "", instances: int = 1) -> Service:
    return Service(name=name, ready=ready, reason=reason, instances=instances)


def test_without_nats_only_nats_is_gone_since_nobody_can_be_heard() -> None:
    silent = shown("drift", ready=False, reason="silent for 9 s", instances=0)
    assert gone([silent], "not connected", {}, settled=True) == {"nats": "not connected"}


def test_who_is_silent_is_missed_when_there_was_time_to_be_heard() -> None:
    silent = shown("drift", ready=False, reason="not heard of yet", instances=0)
    ill = shown("telemetry", ready=False, reason="ClickHouse: refused")
    assert gone([silent, ill], "", {}, settled=False) == {
        "telemetry": "telemetry: ClickHouse: refused"
    }
    assert gone([silent, shown("x")], "", {}, settled=True) == {"drift": "drift: not heard of yet"}


def test_what_does_not_answer_questions_is_gone() -> None:
    assert gone([], "", {"telemetry": "no answer"}, settled=False) == {"telemetry": "no answer"}


def test_an_outage_keeps_its_beginning_and_numbers_in_its_text_are_no_news() -> None:
    outages = Outages()
    assert outages.update({"drift": "silent for 9 s"}, NOW)
    since = outages.now["drift"].since
    assert not outages.update({"drift": "silent for 10 s"}, NOW + 1)
    assert outages.now["drift"].since == since
    assert outages.now["drift"].text == "silent for 10 s"
    assert outages.update({}, NOW + 2)
    assert not outages.now
    assert not outages.update({}, NOW + 3)


def test_a_service_is_shown_with_its_lag() -> None:
    lag = [Lag(stream="ROWS", durable="x", pending=3)]
    assert service("drift", None, lag, NOW).lag == lag
