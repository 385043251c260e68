"""The console's pages as files: what they import is there, and nothing makes markup of text."""

import re
from pathlib import Path

import pytest

import driftloop.console

STATIC = Path(driftloop.console.__file__).parent / "static"
SCRIPTS = sorted(STATIC.rglob("*.js"))
STYLES = sorted(STATIC.rglob("*.css"))
DOCUMENTS = sorted(STATIC.glob("*.html"))
MOST_LINES = 300

IMPORT = re.compile(r'^import \{([^}]*)\} from "([^"]+)";', re.MULTILINE)
LAZY = re.compile(r'import\("([^"]+)"\)')
EXPORT = re.compile(r"^export (?:async )?(?:function|const|class) (\w+)", re.MULTILINE)
LINK = re.compile(r'(?:href|src)="/static/([^"]+)"')
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser"
    r"|createContextualFragment|srcdoc|\beval\(|new Function"
)


def ids(path: Path) -> str:
    return str(path.relative_to(STATIC))


def imports(path: Path) -> list[tuple[Path, list[str]]]:
    """The modules that a script imports, and the names it takes of each."""
    text = path.read_text()
    named = [
        (path.parent / where, [name.split(" as ")[0].strip() for name in names.split(",")])
        for names, where in IMPORT.findall(text)
    ]
    lazy: list[tuple[Path, list[str]]] = [(path.parent / where, []) for where in LAZY.findall(text)]
    return [(target.resolve(), [n for n in names if n]) for target, names in (*named, *lazy)]


@pytest.mark.parametrize("path", SCRIPTS, ids=ids)
def test_what_a_script_imports_is_exported_there(path: Path) -> None:
    for target, names in imports(path):
        assert target.is_file(), target
        assert set(names) <= set(EXPORT.findall(target.read_text())), target


@pytest.mark.parametrize("path", SCRIPTS, ids=ids)
def test_what_a_script_imports_it_uses(path: Path) -> None:
    body = IMPORT.sub("", path.read_text())
    taken = [name for names, _ in IMPORT.findall(path.read_text()) for name in names.split(",")]
    for name in (name.split(" as ")[-1].strip() for name in taken):
        assert not name or re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", body), name


def test_every_script_and_style_is_reached_from_a_document() -> None:
    reached = {
        (STATIC / name).resolve() for page in DOCUMENTS for name in LINK.findall(page.read_text())
    }
    waiting = [path for path in reached if path.suffix == ".js"]
    while waiting:
        for target, _ in imports(waiting.pop()):
            if target not in reached:
                reached.add(target)
                waiting.append(target)
    assert {ids(path) for path in (*SCRIPTS, *STYLES) if path.resolve() not in reached} == set()
    assert all(path.is_file() for path in reached)


@pytest.mark.parametrize("path", SCRIPTS, ids=ids)
def test_no_script_makes_markup_of_text(path: Path) -> None:
    assert MARKUP.findall(path.read_text()) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_documents_hold_no_script_and_no_style_of_their_own(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>|<style|\son\w+=|\sstyle=", text) == []
    assert re.findall(r'(?:href|src)="(?!/static/|#)[^"]*"', text) == []


@pytest.mark.parametrize("path", [*SCRIPTS, *STYLES], ids=ids)
def test_a_file_is_short_and_says_what_it_is_for(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= (MOST_LINES if path.suffix == ".js" else MOST_LINES + 100)
    assert lines[0].startswith(("// ", "/* "))


def test_styles_name_no_other_address() -> None:
    assert [ids(path) for path in STYLES if re.search(r"url\(|@import", path.read_text())] == []
