"""The page about the metrics of the services, read from the code that makes them."""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR

import driftloop
from driftloop.cli.reference.source import cell, code, table
from driftloop.runtime.settings import SERVICES

EVERY: Final = "every service"
PREFIX: Final = "driftloop_"
KINDS: Final = {
    "counter": "counter",
    "reading": "counter",
    "collected_counter": "counter",
    "gauge": "gauge",
    "histogram": "histogram",
    "collected_histogram": "histogram",
}
"""Functions of `driftloop.runtime.metrics`, and what they make."""
LABELS: Final = {
    "answered": "`yes` or `no`",
    "channel": "name of a channel in the rules of notifications",
    "consumer": "durable consumer, or the service that follows a stream",
    "decision": "`started`, `kept` or `declined`",
    "error": "kind of error, of the few that callers are told",
    "event": "kind of a control event",
    "group": "`features`, `prediction`, `label` or `loss`",
    "lane": "`live` or `backlog`",
    "model": "name of a registered model",
    "outcome": "what came of it: `answered` or a kind of error; of spans, what the text says",
    "reason": "why; a fixed list in the code",
    "result": "what came of it; the text says which there are",
    "role": "`champion` or `shadow`",
    "stage": "stage of a run, or of a request",
    "state": "`received`, `valid`, `quarantined` or `duplicate`",
    "stream": "name of a stream",
    "table": "table of ClickHouse",
    "token": "name of a token that somebody made; empty for one that is not known",
    "trigger": "why a run began",
    "verdict": "how a run ended",
    "version": "Driftloop's version",
    "what": "what it is about; a fixed list in the code",
    "window": "training set, by its name in the spec",
    "worker": "number of a worker of one service, at most 63",
}
"""Every label, and what its values are: each has a bound that no caller can pass."""
_UNITS: Final = (
    ("_timestamp_seconds", "seconds since 1970"),
    ("_seconds", "seconds"),
    ("_bytes", "bytes"),
    ("_ratio", "share, 0 to 1"),
)
_COUNTED: Final = ("batches", "messages", "requests", "rows", "spans")
_MADE: Final = re.compile(rf"\bmetrics\.({'|'.join(KINDS)})\(")
"""Modules without it need not be parsed."""
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_NOT_BASE: Final = frozenset(
    {"ms", "milliseconds", "micros", "minutes", "hours", "days", "kb", "mb", "gb", "percent"}
)
_RESERVED: Final = ("total", "count", "sum", "bucket", "created")
_TARGET: Final = ("job", "instance", "service", "le", "quantile")
"""Labels that Prometheus sets, or that mean something to it."""


class Known(NamedTuple):
    """A metric as the code makes it; `name` as Prometheus shows it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str
    service: str
    where: str

    @property
    def unit(self) -> str:
        """What a value of 1 is."""
        name = self.name.removesuffix("_total")
        for suffix, unit in _UNITS:
            if name.endswith(suffix):
                return unit
        last = name.rpartition("_")[2]
        return last if last in _COUNTED else "1"


def metrics() -> list[Known]:
    """Every metric of the services, by name. Raises `ValueError` for one that cannot be read."""
    found = [
        m for path, root in _modules() for m in of_source(path.read_text(), _where(path, root))
    ]
    return sorted(found)


def of_source(source: str, where: str) -> Iterator[Known]:
    """The metrics that a module makes; `where` is its path from `driftloop`."""
    service = where.split("/")[0]
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "metrics"
            and node.func.attr in KINDS
        ):
            name, text, labels = _arguments(node, f"{where}:{node.lineno}")
            kind = KINDS[node.func.attr]
            shown = f"{PREFIX}{name}_total" if kind == "counter" else f"{PREFIX}{name}"
            place = service if service in SERVICES else EVERY
            yield Known(shown, kind, tuple(labels), text, place, where)


def problems(known: Sequence[Known]) -> list[str]:
    """What is wrong with metrics by https://prometheus.io/docs/practices/naming/."""
    said = [f"{m.name} ({m.where}): {why}" for m in known for why in _wrong(m)]
    names = [m.name for m in known]
    return said + [f"{name}: made twice" for name in sorted(set(names)) if names.count(name) > 1]


def process() -> list[tuple[str, str, str]]:
    """Name, kind and text of the metrics of a process that the client library brings."""
    found: list[tuple[str, str, str]] = []
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        for its in collector.collect():
            name = f"{its.name}_total" if its.type == "counter" else its.name
            found.append((name, its.type, its.documentation.rstrip(".")))
    return sorted(found)


def page() -> Iterator[str]:
    """`metrics.md`."""
    known = metrics()
    yield "# Metrics"
    yield (
        "Each service tells these at `/metrics`, in Prometheus's text format. A histogram has the"
        " usual series `_bucket`, `_sum` and `_count`. Counters begin at zero with the process;"
        " a series `_created` has the time of that. Of a service with several workers, counters and"
        " histograms are sums, and a gauge has the label `worker`. How to"
        " [set it up](../how-to/monitor.md), and [what the alerts mean](../how-to/alerts.md)."
    )
    for service in (EVERY, *SERVICES):
        of = [m for m in known if m.service == service]
        if of:
            yield from ("", f"## {service.capitalize() if service == EVERY else service}", "")
            yield from _table(of)
    yield from ("", "## Labels", "")
    used = {label for m in known for label in m.labels}
    rows = [(code(label), cell(LABELS[label])) for label in sorted(used) if label in LABELS]
    yield from table(("label", "its values"), rows)
    yield from ("", "## Of the process", "", "By the client library, in every service.", "")
    yield from table(
        ("metric", "type", "meaning"), [(code(n), kind, cell(text)) for n, kind, text in process()]
    )


def _table(of: Sequence[Known]) -> list[str]:
    rows = [
        (code(m.name), m.kind, ", ".join(map(code, m.labels)), m.unit, cell(m.text)) for m in of
    ]
    return table(("metric", "type", "labels", "unit", "meaning"), rows)


def _modules() -> Iterator[tuple[Path, Path]]:
    for root in map(Path, driftloop.__path__):
        for path in sorted(root.rglob("*.py")):
            yield path, root


def _where(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _arguments(call: ast.Call, where: str) -> tuple[str, str, list[str]]:
    given: dict[str, Any] = dict(zip(("name", "text", "labels"), call.args, strict=False))
    given |= {word.arg: word.value for word in call.keywords if word.arg in ("text", "labels")}
    try:
        name, text = ast.literal_eval(given["name"]), ast.literal_eval(given["text"])
        labels = ast.literal_eval(given["labels"]) if "labels" in given else []
    except (KeyError, ValueError) as error:
        raise ValueError(f"{where}: a metric without a name and a text in the code") from error
    return name, text, list(labels)


def _wrong(m: Known) -> Iterator[str]:
    name = m.name.removeprefix(PREFIX)
    words = name.removesuffix("_total").split("_")
    if not _NAME.fullmatch(name):
        yield "name; accepted: words in lower case with one underscore between"
    if words[-1] in _RESERVED:
        yield f"name ends with {words[-1]}, which Prometheus adds itself"
    if off := _NOT_BASE & set(words):
        yield f"unit {', '.join(off)}; accepted: base units, seconds and bytes"
    if m.kind == "histogram" and words[-1] not in ("seconds", "bytes"):
        yield "a histogram without a unit; accepted: a name that ends with _seconds or _bytes"
    if not m.text.strip() or m.text != m.text.strip().rstrip("."):
        yield f"text {m.text!r}; accepted: what it means, without a full stop at the end"
    for label in m.labels:
        if label in _TARGET:
            yield f"label {label}, which Prometheus sets itself"
        elif label not in LABELS:
            yield f"label {label}; accepted: one of LABELS, with a bound for its values"
