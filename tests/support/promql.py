"""Reads expressions of PromQL, and says what in them does not exist or cannot be.

https://prometheus.io/docs/prometheus/latest/querying/basics/
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from driftloop.cli.reference import metrics

TARGET: Final = frozenset({"job", "instance", "service"})
"""Labels that the scrape configuration gives every series."""
AGGREGATIONS: Final = frozenset(
    ("sum", "min", "max", "avg", "group", "stddev", "count", "bottomk", "topk", "quantile")
)
OVER_TIME: Final = frozenset(f"{of}_over_time" for of in ("avg", "min", "max", "sum", "count"))
OF_RANGES: Final = OVER_TIME | frozenset(
    ("rate", "irate", "increase", "resets", "changes", "delta", "deriv", "last_over_time")
)
OF_COUNTERS: Final = frozenset({"rate", "irate", "increase", "resets"})
OF_EITHER: Final = frozenset({"changes", "last_over_time"})
OF_VALUES: Final = frozenset(
    ("abs", "absent", "ceil", "clamp_max", "clamp_min", "floor", "histogram_quantile")
) | frozenset(("round", "scalar", "sort", "sort_desc", "sqrt", "time", "timestamp", "vector"))
_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    | (?P<time>(?:\d+(?:ms|[smhdwy]))+|\$__\w+)
    | (?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?|\.\d+)
    | (?P<name>[A-Za-z_][\w:]*)
    | (?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){}\[\],:@])
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_LEVELS: Final = (
    ("or",),
    ("and", "unless"),
    ("==", "!=", ">", "<", ">=", "<="),
    ("+", "-"),
    ("*", "/", "%"),
    ("^",),
)


class Wrong(Exception):
    """What cannot be, in words."""


class Series(NamedTuple):
    """What there is of a metric: its type, and its labels."""

    kind: str
    labels: frozenset[str]


def series() -> dict[str, Series]:
    """Every series that a system has, by name: those of the reference page, and Prometheus's."""
    found: dict[str, Series] = {name: Series("gauge", TARGET) for name in ("up", "ALERTS")}
    of_process = [(name, kind, ()) for name, kind, _ in metrics.process()]
    for name, kind, labels in [
        *((m.name, m.kind, m.labels) for m in metrics.metrics()),
        *of_process,
    ]:
        has = TARGET | frozenset(labels)
        if kind == "histogram":
            found[f"{name}_bucket"] = Series("counter", has | {"le"})
            found |= {f"{name}_{part}": Series("counter", has) for part in ("sum", "count")}
        else:
            found[name] = Series(kind, has | ({"worker"} if kind == "gauge" else set()))
    return found


def check(expression: str, known: Mapping[str, Series]) -> frozenset[str]:
    """The labels that the series of an expression may have. Raises `Wrong`."""
    parser = _Parser(expression, known)
    labels = parser.binary(0)
    parser.end()
    return labels.labels


class _Result(NamedTuple):
    labels: frozenset[str]
    is_range: bool = False
    kind: str = ""


class _Parser:
    def __init__(self, text: str, known: Mapping[str, Series]) -> None:
        self._known = known
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                raise Wrong(f"{text[at : at + 20]!r} is not PromQL")
            self._tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            at = match.end()

    def end(self) -> None:
        if self._tokens:
            raise Wrong(f"{self._tokens[0][1]!r} is too much")

    def binary(self, level: int) -> _Result:
        if level == len(_LEVELS):
            return self._unary()
        left = self.binary(level + 1)
        while self._sees(*_LEVELS[level]):
            self._next()
            self._takes("bool")
            matched = self._matching()
            right = self.binary(level + 1)
            for labels, side in ((matched, left), (matched, right)):
                self._has(labels, side)
            left = _Result(left.labels | right.labels)
        return left

    def _matching(self) -> frozenset[str]:
        matched: frozenset[str] = frozenset()
        if self._sees("on", "ignoring"):
            self._next()
            matched = self._names()
            if self._sees("group_left", "group_right"):
                self._next()
                if self._sees("("):
                    self._names()
        return matched

    def _unary(self) -> _Result:
        if self._sees("-", "+"):
            self._next()
            return self._unary()
        made = self._operand()
        if self._takes("["):
            made = _Result(made.labels, True, made.kind)
            self._is("time")
            if self._takes(":") and not self._sees("]"):
                self._is("time")
            self._wants("]")
        if self._takes("offset"):
            self._takes("-")
            self._is("time")
        return made

    def _operand(self) -> _Result:
        kind, word = self._next()
        if kind in ("number", "text"):
            return _Result(frozenset())
        if word == "(":
            made = self.binary(0)
            self._wants(")")
            return made
        if kind != "name":
            raise Wrong(f"{word!r} where a value should be")
        if word in AGGREGATIONS:
            return self._aggregation(of_all=word not in ("topk", "bottomk"))
        if self._sees("("):
            return self._call(word)
        return self._selector(word)

    def _aggregation(self, *, of_all: bool) -> _Result:
        kept = self._kept()
        arguments = self._arguments()
        if kept is None:
            kept = self._kept()
        of = arguments[-1]
        if kept is None or not of_all:
            return _Result(frozenset() if of_all else of.labels)
        by, names = kept
        self._has(names, of)
        return _Result(names if by else of.labels - names)

    def _kept(self) -> tuple[bool, frozenset[str]] | None:
        if not self._sees("by", "without"):
            return None
        return self._next()[1] == "by", self._names()

    def _call(self, name: str) -> _Result:
        if name not in OF_RANGES | OF_VALUES:
            raise Wrong(f"{name} is no function")
        arguments = self._arguments()
        labels: frozenset[str] = frozenset().union(*(a.labels for a in arguments))
        if name in OF_RANGES and not any(a.is_range for a in arguments):
            raise Wrong(f"{name} wants a range, such as [5m]")
        if name in OF_VALUES and any(a.is_range for a in arguments):
            raise Wrong(f"{name} wants no range")
        for kind in {a.kind for a in arguments} - {""}:
            fits = name in OF_EITHER or (kind == "counter") == (name in OF_COUNTERS)
            if name in OF_RANGES and not fits:
                raise Wrong(f"{name} of a {kind}")
        if name == "histogram_quantile":
            self._has(frozenset({"le"}), arguments[-1])
            labels -= {"le"}
        return _Result(labels)

    def _arguments(self) -> list[_Result]:
        self._wants("(")
        found: list[_Result] = []
        while not self._takes(")"):
            found.append(self.binary(0))
            if not self._sees(")"):
                self._wants(",")
        return found

    def _selector(self, name: str) -> _Result:
        if name not in self._known:
            raise Wrong(f"metric {name} does not exist")
        its = self._known[name]
        if self._takes("{"):
            while not self._takes("}"):
                label = self._is("name")
                if label not in its.labels:
                    raise Wrong(f"metric {name} has no label {label}")
                if self._next()[1] not in ("=", "!=", "=~", "!~"):
                    raise Wrong(f"label {label} is not compared")
                self._is("text")
                if not self._sees("}"):
                    self._wants(",")
        return _Result(its.labels, False, its.kind)

    def _names(self) -> frozenset[str]:
        self._wants("(")
        found: set[str] = set()
        while not self._takes(")"):
            found.add(self._is("name"))
            if not self._sees(")"):
                self._wants(",")
        return frozenset(found)

    def _has(self, labels: frozenset[str], of: _Result) -> None:
        if missing := labels - of.labels:
            raise Wrong(f"no series here has the label {', '.join(sorted(missing))}")

    def _sees(self, *words: str) -> bool:
        return bool(self._tokens) and self._tokens[0][1] in words

    def _takes(self, word: str) -> bool:
        found = self._sees(word)
        if found:
            self._next()
        return found

    def _wants(self, word: str) -> None:
        if not self._takes(word):
            found = self._tokens[0][1] if self._tokens else "the end"
            raise Wrong(f"{found!r} where {word!r} should be")

    def _is(self, kind: str) -> str:
        found, word = self._next()
        if found != kind:
            raise Wrong(f"{word!r} where a {kind} should be")
        return word

    def _next(self) -> tuple[str, str]:
        if not self._tokens:
            raise Wrong("it ends too early")
        return self._tokens.pop(0)
