"""Rules and dashboards name only what there is: metrics, labels, tables, columns and pages."""

import copy
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from driftloop.contracts.errors import InvalidInput
from driftloop.runtime.settings import PORTS
from driftloop.telemetry.engine import Engine
from driftloop.telemetry.settings import TelemetrySettings
from tests.support import dashboards
from tests.support.dashboards import ROOT, panels, problems, problems_of_rules, questions
from tests.support.promql import Series, Wrong, check, series

SHOWN = dashboards.dashboards()
RULES = dashboards.rules()
COMPOSE = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]


@pytest.fixture(scope="module")
def known() -> dict[str, Series]:
    return series()


@pytest.fixture
async def tables(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = Engine(TelemetrySettings(path=str(tmp_path)))
    await engine.open()
    yield engine
    await engine.close()


def test_the_rules_name_metrics_and_labels_that_exist(known: dict[str, Series]) -> None:
    assert len(RULES) > 20
    assert problems_of_rules(known) == []


@pytest.mark.parametrize("name", SHOWN)
def test_a_dashboard_names_metrics_and_labels_that_exist(
    name: str, known: dict[str, Series]
) -> None:
    assert problems(SHOWN[name], known) == []


async def test_every_question_to_clickhouse_is_answered_by_the_tables_as_they_are(
    tables: Engine,
) -> None:
    asked = [(name, *question) for name, its in SHOWN.items() for question in questions(its)]
    assert len(asked) > 15
    for name, title, over_time, sql in asked:
        try:
            answer = await tables.ask(sql)
        except InvalidInput as error:
            pytest.fail(f"{name}: {title}: {error}")
        if over_time:
            assert pa.types.is_timestamp(answer.schema.field("time").type), f"{name}: {title}"


async def test_a_column_that_does_not_exist_is_found(tables: Engine) -> None:
    (sql, *_) = [q for _, over_time, q in questions(SHOWN["model.json"]) if "estimates" in q]
    with pytest.raises(InvalidInput, match="forecast"):
        await tables.ask(sql.replace("avg(estimate)", "avg(forecast)"))


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("driftloop_scored_rows_total", "driftloop_rows_total", "driftloop_rows_total does not"),
        ('state="valid"', 'kind="valid"', "has no label kind"),
        ("sum(rate(driftloop_scored", "total(rate(driftloop_scored", "total is no function"),
        ("[$__rate_interval]", "", "wants a range"),
        ("sum by (decision)", "sum by (model)", "no label decision"),
        (
            "label_values(driftloop_validation_rows_total, model)",
            "label_values(up, model)",
            "$model",
        ),
    ],
)
def test_what_does_not_exist_in_a_copy_of_a_dashboard_is_found(
    before: str, after: str, why: str, known: dict[str, Series]
) -> None:
    found = []
    for name in ("overview.json", "model.json"):
        changed = _replaced(copy.deepcopy(SHOWN[name]), before, after)
        found += problems(changed, known) if changed != SHOWN[name] else []
    assert any(why in said for said in found), found


@pytest.mark.parametrize("sql", ["SELECT $__timeFiler(at)", "SELECT '$mode'"])
def test_a_macro_or_variable_that_does_not_exist_is_found(sql: str) -> None:
    with pytest.raises(Wrong, match="is no macro or variable"):
        dashboards.asked(sql, {"model"})


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("up{job=}", "where a text should be"),
        ("sum(up", "the end"),
        ("rate(up[5m])", "rate of a gauge"),
        ("deriv(driftloop_scored_rows_total[5m])", "deriv of a counter"),
        ("up + on (model) up", "no series here has the label model"),
        ("histogram_quantile(0.9, sum(up))", "label le"),
        ("up up", "too much"),
        ("up[5]", "time should be"),
        ("5 #", "not PromQL"),
    ],
)
def test_what_is_no_promql_is_told(expression: str, why: str, known: dict[str, Series]) -> None:
    with pytest.raises(Wrong, match=re.escape(why)):
        check(expression, known)


def test_each_alert_says_what_it_is_and_has_its_part_of_the_run_book() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        said = rule["annotations"]
        assert all(said[part].strip() for part in ("summary", "description", "runbook_url"))
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        page, _, anchor = said["runbook_url"].partition("#")
        text = (ROOT / page).read_text()
        assert anchor in _anchors(text), rule["alert"]
    alerts = (ROOT / "docs/how-to/alerts.md").read_text()
    assert re.findall(r"^### (\w+)$", alerts, re.MULTILINE) == names


def test_pages_name_metrics_that_exist(known: dict[str, Series]) -> None:
    there = known.keys() | {name.removesuffix("_bucket") for name in known}
    named = {
        (path.name, name)
        for path in (ROOT / "docs").rglob("*.md")
        for name in re.findall(r"`(driftloop_[a-z0-9_]+)", path.read_text())
    }
    assert len(named) > 100
    assert {its for its in named if its[1] not in there} == set()


def test_every_service_is_scraped_where_it_listens() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "driftloop"
    assert job.get("metrics_path", "/metrics") == "/metrics"
    found = {s["labels"]["service"]: s["targets"] for s in job["static_configs"]}
    assert found == {name: [f"{name}:{port}"] for name, port in PORTS.items()}
    for name, port in PORTS.items():
        assert COMPOSE[name]["environment"]["DRIFTLOOP_PORT"] == port
    assert list((ROOT / "deploy/prometheus").glob(config["rule_files"][0])) == [dashboards.RULES]


def test_panels_ask_data_sources_that_are_provisioned_and_do_not_lie_upon_each_other() -> None:
    sources = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/datasources/driftloop.yml").read_text()
    )["datasources"]
    provisioned = {source["uid"]: source["type"] for source in sources}
    assert len({its["uid"] for its in SHOWN.values()}) == len(SHOWN)
    for name, its in SHOWN.items():
        taken: set[tuple[int, int]] = set()
        assert len({panel["id"] for panel in its["panels"]}) == len(its["panels"])
        for panel in its["panels"]:
            at = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            assert not cells & taken, f"{name}: {panel['title']}"
            assert at["x"] + at["w"] <= 24
            taken |= cells
        for panel in panels(its):
            assert panel["description"], f"{name}: {panel['title']}"
            for target in panel["targets"]:
                asked = target["datasource"]
                assert provisioned[asked["uid"]] == asked["type"]


def test_what_the_containers_mount_is_there() -> None:
    for name in ("prometheus", "grafana", "clickhouse"):
        mounts = [v.split(":")[0] for v in COMPOSE[name]["volumes"] if isinstance(v, str)]
        paths = [ROOT / "deploy" / mount for mount in mounts if mount.startswith(".")]
        assert paths
        assert all(path.exists() for path in paths)


def _anchors(text: str) -> set[str]:
    return {
        re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }


def _replaced(value: Any, before: str, after: str) -> Any:
    if isinstance(value, str):
        return value.replace(before, after)
    if isinstance(value, list):
        return [_replaced(each, before, after) for each in value]
    if isinstance(value, dict):
        return {key: _replaced(each, before, after) for key, each in value.items()}
    return value
