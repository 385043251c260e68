import subprocess
import sys
from pathlib import Path

import pytest

from driftloop.cli import main as command
from driftloop.cli.exits import Exit, Stop, code_of, text_of
from driftloop.contracts.errors import DriftloopError, InvalidInput, Overloaded, Retry, UnknownModel
from driftloop.modelspec.check import from_dict

SPEC = """
name = "churn"
task = "classification"
[target]
classes = ["no", "yes"]
[[features]]
name = "age"
"""


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["driftloop", *map(str, arguments)])
        try:
            command.main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput("x"), Exit.USAGE),
        (UnknownModel("x"), Exit.USAGE),
        (FileNotFoundError(2, "No such file", "data.csv"), Exit.USAGE),
        (ConnectionError("x"), Exit.SILENT),
        (Retry("x"), Exit.SILENT),
        (Overloaded("x"), Exit.SILENT),
        (TimeoutError(), Exit.SILENT),
        (DriftloopError("x"), Exit.NO),
        (Stop(Exit.NO), Exit.NO),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
    ],
)
def test_every_error_has_its_exit_code(error: BaseException, code: Exit) -> None:
    assert code_of(error) == code


def test_an_error_is_never_empty_unless_all_was_said() -> None:
    assert text_of(TimeoutError()) == "TimeoutError"
    assert text_of(FileNotFoundError(2, "No such file", "data.csv")) == "data.csv: no such file"
    assert text_of(Stop(Exit.NO)) == ""
    assert text_of(KeyboardInterrupt()) == ""


def test_a_spec_that_is_fine_is_accepted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "churn.toml").write_text(SPEC)
    code, out, _ = run(capsys, "spec", "check", tmp_path / "churn.toml")
    assert code == 0
    assert "classification model churn with 1 features; accepted" in out


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"churn"', '"a.b"', "name: 'a.b' is not a model name; accepted: "),
        ('name = "age"', 'name = "age"\nmin = 3\nmax = 1', "features[0].min: 3.0 is not below max"),
        ('"churn"', '"churn', "accepted: a TOML document"),
        ("[target]", "[traget]", "unknown field"),
    ],
)
def test_a_bad_spec_is_one_clear_line_and_exit_code_2(
    old: str, new: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "bad.toml").write_text(SPEC.replace(old, new, 1))
    code, out, err = run(capsys, "spec", "check", tmp_path / "bad.toml")
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_an_estimator_that_cannot_be_built_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = SPEC + '[training]\nestimator = "sklearn.linear_model.NoSuch"\n'
    (tmp_path / "bad.toml").write_text(text)
    code, _, err = run(capsys, "spec", "check", tmp_path / "bad.toml")
    assert code == 2
    assert "training.estimator: 'sklearn.linear_model.NoSuch'" in err


def test_a_spec_is_inferred_written_and_not_overwritten(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data, spec = tmp_path / "churn.csv", tmp_path / "churn.toml"
    data.write_text("id,age,churned\n" + "".join(f"{n},{20 + n},{n % 2}\n" for n in range(80)))
    code, _, err = run(capsys, "spec", "infer", data, "-o", spec)
    assert code == 0
    assert "target: churned (the last column)" in err
    assert run(capsys, "spec", "check", spec)[0] == 0
    code, _, err = run(capsys, "spec", "infer", data, "-o", spec)
    assert code == 2
    assert "is there already" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("models",),
        ("status",),
        ("events",),
        ("why", "flights"),
        ("retrain", "flights"),
        ("sql", "SELECT 1"),
        ("predict", "flights", "--row", "{}"),
        ("spec", "show", "flights"),
    ],
)
def test_where_nothing_answers_the_address_is_named_and_the_code_is_3(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftloop.cli.session.CONNECT_SECONDS", 0.3)
    code, out, err = run(capsys, *arguments, "--url", "nats://127.0.0.1:9")
    assert (code, out) == (3, "")
    assert err.startswith("--url: no NATS server answers at nats://127.0.0.1:9; accepted: ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "nothing"), "SERVICE: 'nothing' is not a service; accepted: ingest, "),
        (("spec", "check", "no-such.toml"), "no-such.toml: no such file"),
        (("events", "--since", "3 weeks"), "--since: '3 weeks' is not a duration; accepted: "),
        (("events", "--kind", "x"), "--kind: 'x' is not a kind of event; accepted: "),
        (("frobnicate",), "No such command"),
        (("promote", "flights", "0"), "1"),
    ],
)
def test_wrong_usage_is_code_2(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert said in err


def test_help_comes_without_loading_the_bus_or_arrow() -> None:
    code = (
        "import sys; from driftloop.cli.main import make; make();"
        "print([m for m in ('nats', 'faststream', 'pyarrow', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_default_estimator_needs_no_child_process(monkeypatch: pytest.MonkeyPatch) -> None:
    from driftloop.cli.spec import check_estimator

    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    features = [{"name": "age"}]
    target = {"classes": ["a", "b"]}
    raw = {"name": "x", "task": "classification", "target": target, "features": features}
    check_estimator(from_dict(raw))
