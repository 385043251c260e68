"""Reads the dashboards and rules of `deploy`, and says what in them does not exist."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.promql import Series, Wrong, check

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "deploy/prometheus/rules/driftloop.yml"
DASHBOARDS: Final = ROOT / "deploy/grafana/dashboards"
ALERT: Final = frozenset({"alertname", "alertstate", "severity"})
MODEL: Final = "tide"
_LEGEND: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_USED: Final = re.compile(r"\$labels\.(\w+)")
_VALUES: Final = re.compile(r"label_values\((.+),\s*(\w+)\)")
_MACROS: Final = {
    r"\$__timeFilter\(([\w.]+)\)": r"(\1 >= toDateTime(0) AND \1 <= toDateTime(4000000000))",
    r"\$__timeInterval\(([\w.]+)\)": r"toStartOfInterval(toDateTime(\1), INTERVAL 20 second)",
    r"\$__interval_s\b": "20",
}
"""As the plugin replaces them."""


def rules() -> list[dict[str, Any]]:
    """All alert rules."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboards() -> dict[str, dict[str, Any]]:
    """All dashboards by file name."""
    return {path.name: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def panels(dashboard: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The panels that show something."""
    yield from (panel for panel in dashboard["panels"] if panel["type"] != "row")


def problems_of_rules(known: Mapping[str, Series]) -> list[str]:
    """What in the rules does not exist."""
    return [f"{rule['alert']}: {why}" for rule in rules() for why in _of_rule(rule, known)]


def problems(dashboard: Mapping[str, Any], known: Mapping[str, Series]) -> list[str]:
    """What the PromQL of a dashboard names that does not exist."""
    found = [
        f"{panel['title']}: {why}"
        for panel in panels(dashboard)
        for target in panel["targets"]
        if target["datasource"]["type"] == "prometheus"
        for why in _of_target(target, known)
    ]
    for variable in dashboard["templating"]["list"]:
        match = _VALUES.fullmatch(variable["query"]["query"])
        assert match is not None, variable["name"]
        found += [f"${variable['name']}: {why}" for why in _of(match[1], {match[2]}, known)]
    return found


def questions(dashboard: Mapping[str, Any]) -> list[tuple[str, bool, str]]:
    """Title, whether it is a series over time, and SQL of each ClickHouse target, as it is asked.

    Raises `Wrong` for a macro or variable that does not exist.
    """
    variables = {v["name"] for v in dashboard["templating"]["list"]}
    targets = [
        (panel["title"], target) for panel in panels(dashboard) for target in panel["targets"]
    ]
    targets += [
        (note["name"], note["target"])
        for note in dashboard["annotations"]["list"]
        if "rawSql" in note.get("target", {})
    ]
    return [
        (title, target["queryType"] == "timeseries", asked(target["rawSql"], variables))
        for title, target in targets
        if "rawSql" in target
    ]


def asked(sql: str, variables: set[str]) -> str:
    """SQL with macros and variables replaced."""
    for macro, meaning in _MACROS.items():
        sql = re.sub(macro, meaning, sql)
    for name in variables:
        sql = re.sub(rf"\${name}\b", MODEL, sql)
    if "$" in sql:
        raise Wrong(f"{sql[sql.index('$') :][:30]!r} is no macro or variable")
    return sql


def _of_rule(rule: Mapping[str, Any], known: Mapping[str, Series]) -> list[str]:
    texts = " ".join(rule["annotations"].values())
    return _of(rule["expr"], set(_USED.findall(texts)), known)


def _of_target(target: Mapping[str, Any], known: Mapping[str, Series]) -> list[str]:
    return _of(target["expr"], set(_LEGEND.findall(target["legendFormat"])), known)


def _of(expression: str, used: set[str], known: Mapping[str, Series]) -> list[str]:
    alerts = {"ALERTS": Series("gauge", known["ALERTS"].labels | ALERT)}
    try:
        labels = check(expression, {**known, **alerts})
    except Wrong as error:
        return [str(error)]
    missing = ", ".join(sorted(used - labels))
    return [f"the result has no label {missing}"] if missing else []
