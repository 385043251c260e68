"""The results of the bench of many models as tables of plain text."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from driftloop.local.bench.many.run import Result


def report(results: Sequence[Result]) -> str:
    """Tables: processes at rest, the whole deployment, rows and requests, fairness."""
    parts = [
        _table(
            ("models", "process", "ready s", "RSS MB", "PSS MB", "idle cores", "log lines"),
            (
                (
                    f"{result.models}",
                    one.name,
                    f"{one.ready_s:.2f}",
                    f"{one.rss_mb:.0f}",
                    f"{one.pss_mb:.0f}",
                    f"{one.cores:.3f}",
                    f"{result.logged.get(one.name, 0)}",
                )
                for result in results
                for one in result.idle
            ),
        ),
        _table(
            ("models", "streams", "consumers", "first ms", "worst ms", "again ms"),
            (_first(result) for result in results),
        ),
        _table(
            (
                *("models", "sent", "scored", "lost", "wrong", "unanswered"),
                *("rows/s", "p50 ms", "p99 ms", "HTTP p50 ms", "HTTP p99 ms", "failed", "MB"),
            ),
            (_through(result) for result in results),
        ),
        _table(
            (
                *("models", "kind", "p50 ms alone", "p50 ms beside", "ratio"),
                *("p99 ms alone", "p99 ms beside", "ratio", "flood rows/s"),
            ),
            (line for result in results for line in _fair(result)),
        ),
    ]
    return "\n\n".join(part for part in parts if part)


def _first(result: Result) -> tuple[str, ...]:
    its = result.cold
    there: tuple[str, ...] = ("",) * 3
    if its is not None:
        times = (its.first_p50_ms, its.first_max_ms, its.again_p50_ms)
        there = tuple(f"{ms:.2f}" for ms in times)
    return (f"{result.models}", f"{result.streams}", f"{result.consumers}", *there)


def _through(result: Result) -> tuple[str, ...]:
    its, asked = result.flow, result.http
    rows: tuple[str, ...] = ("",) * 8
    if its is not None:
        rate = its.scored / its.seconds
        sums = (its.sent, its.scored, its.lost, its.wrong, its.unanswered)
        rows = (*map(str, sums), f"{rate:.0f}", f"{its.p50_ms:.1f}", f"{its.p99_ms:.1f}")
    http: tuple[str, ...] = ("",) * 4
    if asked is not None:
        failed, memory = f"{asked.failed + asked.wrong}", f"{asked.inference_mb:.0f}"
        http = (f"{asked.p50_ms:.2f}", f"{asked.p99_ms:.2f}", failed, memory)
    return (f"{result.models}", *rows, *http)


def _fair(result: Result) -> Iterator[tuple[str, ...]]:
    for kind in dict.fromkeys(one.kind for one in result.fair):
        alone, beside = (
            [one for one in result.fair if one.kind == kind and one.flood is flood]
            for flood in (False, True)
        )
        yield (
            f"{result.models}",
            kind,
            *_beside([one.p50_ms for one in alone], [one.p50_ms for one in beside]),
            *_beside([one.p99_ms for one in alone], [one.p99_ms for one in beside]),
            f"{median(one.flood_rows_per_s for one in beside):.0f}",
        )


def _beside(alone: Sequence[float], beside: Sequence[float]) -> tuple[str, str, str]:
    """Medians of both, and of the ratios of the pairs."""
    ratio = median(b / max(a, 1e-3) for a, b in zip(alone, beside, strict=True))
    return f"{median(alone):.1f}", f"{median(beside):.1f}", f"{ratio:.1f}"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Columns aligned to the right; nothing where there are no lines."""
    all_lines = [head, *lines]
    if len(all_lines) == 1:
        return ""
    widths = [max(map(len, column)) for column in zip(*all_lines, strict=True)]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
        for line in all_lines
    )
