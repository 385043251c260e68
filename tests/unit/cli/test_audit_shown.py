"""What `driftloop audit` says in the end."""

import pytest

from driftloop.bus.audit.report import Report
from driftloop.bus.audit.sums import Sum
from driftloop.cli.audit import show


def of(name: str, rows: int) -> Sum:
    return Sum(model="flights", name=name, left=rows, parts={"scored": rows}, missing=0, extra=0)


def test_sums_of_nothing_are_counted_and_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    sums = [of("valid", 5), of("stream quarantine", 0), of("stream dead", 0)]
    show(Report(since="", sums=sums, dropped=[], in_flight=[], unreadable=0, ids=5, seconds=1.0))
    told = capsys.readouterr().out
    assert "valid" in told
    assert "quarantine" not in told
    assert "The accounting closes: 3 sums of 1 model (2 of nothing), all there ever was" in told
