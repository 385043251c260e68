"""The repository keeps its own rules: pins, deployment, lengths, links, names left out."""

import ast
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from driftloop.contracts.subjects import STREAMS

ROOT = Path(__file__).parents[3]
CODE = [*(ROOT / "libs").rglob("*.py"), *(ROOT / "services").rglob("*.py")]
COMPOSE = ROOT / "deploy/compose.yaml"
NATS_CONF = ROOT / "deploy/nats/nats.conf"

MODULE_LINES = 300
FUNCTION_LINES = 40
NOT_DEPLOYED = {"cli", "local"}
MONITORING = {"prometheus", "grafana"}
INFRASTRUCTURE = {"nats", "clickhouse", "keys", "provision", "operator"} | MONITORING

# Put together from parts, so that this file passes its own test.
REGISTRY_HOSTS = re.compile(
    "|".join(
        rf"\b{name}\.{domain}\b"
        for name, domain in [
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("anaconda", "org"),
            ("npmjs", "(?:org|com)"),
            ("crates", "io"),
            ("proxy.golang", "org"),
        ]
    )
)
MACHINE_PATHS = re.compile(
    r"(?<![\w.])/(?:root|work|home/\w+|Users/\w+|opt/(?:pypi|wheels))\b[/\w]"
)


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Every text file that is, or is about to be, in the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found = {}
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            found[name] = content.decode()
    return found


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return services


def lock_entries() -> list[str]:
    """One text a pin, its continuation lines joined."""
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip()]


def found_lines(texts: dict[str, str], pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:80]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def services_with_main() -> set[str]:
    mains = (ROOT / "services/driftloop").glob("*/__main__.py")
    return {path.parent.name for path in mains} - NOT_DEPLOYED


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def relative_links(text: str) -> list[str]:
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    targets = re.findall(r"\]\(<?([^)\s>]+)", prose)
    return [link for link in targets if not re.match(r"[a-z][a-z+.-]*:|#", link)]


def test_no_file_names_a_package_registry(texts: dict[str, str]) -> None:
    assert found_lines(texts, REGISTRY_HOSTS) == []


def test_no_file_holds_a_path_of_somebodys_machine(texts: dict[str, str]) -> None:
    assert found_lines(texts, MACHINE_PATHS) == []


def test_every_pin_is_exact_and_has_hashes() -> None:
    exact = re.compile(
        r"[a-z0-9][a-z0-9._-]*(\[[a-z0-9,._-]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}"
    )
    assert len(lock_entries()) > 50
    assert [entry for entry in lock_entries() if not exact.match(entry)] == []


def test_the_lock_names_no_address() -> None:
    address = re.compile(r"://| @ |--(extra-)?index-url|--find-links|--trusted-host")
    assert [entry for entry in lock_entries() if address.search(entry)] == []


def test_every_dependency_is_pinned_within_its_bounds(project: dict[str, Any]) -> None:
    pins: dict[str, list[str]] = {}
    for entry in lock_entries():
        name, version = entry.split(" ", 1)[0].split("==")
        pins.setdefault(canonicalize_name(name), []).append(version)
    extras = project["project"]["optional-dependencies"].values()
    wanted = [*project["project"]["dependencies"], *(line for extra in extras for line in extra)]
    for requirement in map(Requirement, wanted):
        versions = pins.get(canonicalize_name(requirement.name), [])
        assert versions, f"{requirement.name} is not in requirements.lock: run `make lock`"
        for version in versions:
            assert requirement.specifier.contains(version), f"{requirement} but {version} is pinned"


def test_compose_starts_exactly_the_services_that_exist(compose: dict[str, Any]) -> None:
    assert set(compose) - INFRASTRUCTURE == services_with_main()


def test_each_container_runs_the_service_it_is_named_after(compose: dict[str, Any]) -> None:
    ports = []
    for name in set(compose) - INFRASTRUCTURE:
        assert compose[name]["build"]["args"] == {"SERVICE": name}
        assert compose[name]["depends_on"]["nats"] == {"condition": "service_healthy"}
        ports.append(compose[name]["environment"]["DRIFTLOOP_PORT"])
    assert len(ports) == len(set(ports))


def test_each_container_sees_its_own_key_alone(compose: dict[str, Any]) -> None:
    for name in {*compose} - INFRASTRUCTURE | {"operator"}:
        [mount] = compose[name]["volumes"]
        assert mount["volume"] == {"subpath": name}
        assert mount["read_only"]
        assert compose[name]["environment"]["DRIFTLOOP_KEYS"] == mount["target"]


def test_compose_publishes_ports_on_loopback_only(compose: dict[str, Any]) -> None:
    published = {name: entry["ports"] for name, entry in compose.items() if "ports" in entry}
    assert published == {
        "console": ["127.0.0.1:8800:8800"],
        "ingest": ["127.0.0.1:8801:8801"],
        "inference": ["127.0.0.1:8802:8802", "127.0.0.1:8809:8809"],
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3000:3000"],
    }


def test_no_module_is_too_long() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in CODE}
    assert {str(path): n for path, n in lengths.items() if n > MODULE_LINES} == {}


def test_no_function_is_too_long() -> None:
    lengths = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for path in CODE
        for node in functions(path)
        if node.end_lineno is not None
    }
    assert lengths
    assert {place: n for place, n in lengths.items() if n > FUNCTION_LINES} == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [path for path in CODE if not ast.get_docstring(ast.parse(path.read_text()))]
    assert [str(path.relative_to(ROOT)) for path in silent] == []


def test_the_namespace_stays_open() -> None:
    assert not (ROOT / "libs/driftloop/__init__.py").exists()
    assert not (ROOT / "services/driftloop/__init__.py").exists()


def test_every_relative_link_of_a_page_leads_somewhere(texts: dict[str, str]) -> None:
    pages = {name: text for name, text in texts.items() if name.endswith(".md")}
    assert pages
    broken = [
        f"{name}: {link}"
        for name, text in pages.items()
        for link in relative_links(text)
        if not (ROOT / name).parent.joinpath(link.split("#")[0]).exists()
    ]
    assert broken == []


def test_every_make_target_in_a_page_exists(texts: dict[str, str]) -> None:
    targets = set(re.findall(r"^([a-z]+):", texts["Makefile"], flags=re.MULTILINE))
    mentioned = {
        f"{name}: make {target}"
        for name, text in texts.items()
        if name.endswith(".md")
        for target in re.findall(r"(?:`|^)make ([a-z]+)", text, flags=re.MULTILINE)
        if target not in targets
    }
    assert mentioned == set()


def test_ci_is_a_script_that_can_be_run() -> None:
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_the_broker_has_room_for_all_streams() -> None:
    match = re.search(r"^\s*max_file_store: (\d+)GB$", NATS_CONF.read_text(), flags=re.MULTILINE)
    assert match is not None
    assert sum(stream.max_bytes for stream in STREAMS) < int(match[1]) << 30
