"""`spec`: check, apply, show and infer what a user writes about a model."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from driftloop.cli import output
from driftloop.cli.options import DEFAULT_URL, Json, ModelName, Reason, Url
from driftloop.cli.session import visit
from driftloop.contracts import requests
from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.names import new_id

if TYPE_CHECKING:
    import pyarrow as pa

    from driftloop.bus.bus import Bus
    from driftloop.cli.guess import Guess, Wanted
    from driftloop.modelspec.spec import Registered, Spec

ESTIMATOR_SECONDS: Final = 60.0
MOST_ROWS: Final = 1_000_000
"""Rows of a file that `spec infer` looks at."""

commands = typer.Typer(no_args_is_help=True, help="Check, apply, show and infer model specs.")

SpecFile = Annotated[Path, typer.Argument(metavar="FILE", help="A spec as TOML.")]
DataFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="Data as CSV, Parquet, NDJSON or Arrow.")
]
Name = Annotated[str, typer.Option("--name", help="Name of the model; else that of the file.")]
Target = Annotated[str, typer.Option("--target", metavar="COLUMN", help="What is to be predicted.")]
Time = Annotated[str, typer.Option("--event-time", metavar="COLUMN", help="When a row happened.")]
Key = Annotated[
    str, typer.Option("--key", metavar="COLUMN", help="Rows of one key keep their order.")
]
Id = Annotated[str, typer.Option("--id", metavar="COLUMN", help="What is unique to a row.")]
Out = Annotated[
    Path | None, typer.Option("-o", "--out", help="Where to write; - is standard output.")
]
Toml = Annotated[bool, typer.Option("--toml", help="As `driftloop spec apply` reads it.")]
Force = Annotated[bool, typer.Option("--force", help="Write over a file that is there.")]


@commands.command()
def check(file: SpecFile, json: Json = False) -> None:
    """Check a spec as a whole, and that its estimator can be built."""
    spec = load(file)
    check_estimator(spec)
    if json:
        output.as_json({"valid": True, "spec": spec})
    else:
        output.say(f"{file}: {described(spec)}; accepted", "green")


@commands.command()
def apply(file: SpecFile, reason: Reason = "", json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Register a spec, or a new revision of it."""
    from driftloop.cli.steer import order, who

    spec = load(file)
    check_estimator(spec)
    command = requests.Command(
        command="register",
        by=who(),
        reason=reason,
        spec=msgspec.msgpack.encode(spec),
        request=new_id(),
    )
    done = visit(url, lambda bus: order(bus, spec.name, command))
    if json:
        output.as_json(done)
    else:
        output.say(done.text)


@commands.command()
def show(model: ModelName, json: Json = False, toml: Toml = False, url: Url = DEFAULT_URL) -> None:
    """Show the registered spec of a model, with the defaults it uses; --toml to edit it."""

    async def work(bus: "Bus") -> "Registered":
        return await bus.spec(model)

    found = visit(url, work)
    if json:
        output.as_json(found)
        return
    output.note(f"revision {found.revision} by {found.by}")
    if toml:
        from driftloop.modelspec.toml import dumps

        output.raw(dumps(found.spec))
        return
    for name, value in msgspec.to_builtins(found.spec).items():
        _show_field(name, value)


@commands.command()
def infer(
    file: DataFile,
    name: Name = "",
    target: Target = "",
    event_time: Time = "",
    key: Key = "",
    identity: Id = "",
    out: Out = None,
    force: Force = False,
) -> None:
    """Write a first spec for a data file, saying what it guessed."""
    from driftloop.cli.guess import Wanted
    from driftloop.cli.toml import render
    from driftloop.modelspec.check import parse

    wanted = Wanted(name=name, target=target, event_time=event_time, event_id=identity, key=key)
    made = guessed(file, wanted)
    text = render(made, file.name)
    parse(text)
    for remark in made.remarks:
        output.note(remark)
    if out == Path("-"):
        output.raw(text)
        return
    path = out or Path(f"{made.name}.toml")
    if path.exists() and not force:
        raise InvalidInput(f"-o: {path} is there already; accepted: another file, or --force")
    path.write_text(text)
    output.note(f"Wrote {path}: {made.task} of {made.target} from {len(made.features)} features.")
    output.note(
        f"Next: read it, then `driftloop spec check {path}` and `driftloop spec apply {path}`."
    )


def load(path: Path) -> "Spec":
    """The checked spec in a file; raises `InvalidInput`."""
    from driftloop.modelspec import check as spec_check

    try:
        return spec_check.load(path)
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"FILE: {path} is not text ({error.reason}); accepted: a TOML document"
        ) from error


def described(spec: "Spec") -> str:
    """A spec in a few words."""
    return f"{spec.task} model {spec.name} with {len(spec.features)} features"


def check_estimator(spec: "Spec") -> None:
    """Build the estimator in a child process, since its module runs code; raises `InvalidInput`."""
    training = spec.training
    if training.estimator == "default":
        return
    parameters = msgspec.json.encode(training.parameters).decode()
    command = [sys.executable, "-m", "driftloop.trainer.estimators"]
    command += [training.estimator, parameters, spec.task]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ESTIMATOR_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InvalidInput(
            f"training.estimator: {training.estimator!r} was not built in {ESTIMATOR_SECONDS:g} s;"
            " accepted: an estimator whose module imports quickly"
        ) from error
    if done.returncode:
        ended = f"training.estimator: {training.estimator!r} ended with {done.returncode}"
        raise InvalidInput((done.stderr.strip().splitlines() or [ended])[-1])


def guessed(file: Path, wanted: "Wanted") -> "Guess":
    """The guess for a file; raises `InvalidInput`."""
    from driftloop.cli.guess import guess
    from driftloop.cli.profile import profiles

    table = _table(file)
    if table.num_rows < 2:
        raise InvalidInput(f"FILE: {file.name} has {table.num_rows} rows; accepted: at least 2")
    if table.num_rows >= MOST_ROWS:
        output.note(f"rows: only the first {MOST_ROWS:,} are looked at")
    return guess(list(profiles(table)), file.stem, wanted)


def _table(file: Path) -> "pa.Table":
    import pyarrow as pa

    from driftloop.cli.files import read

    batches, rows = [], 0
    for batch in read(file):
        batches.append(pa.Table.from_batches([batch]))
        rows += batch.num_rows
        if rows >= MOST_ROWS:
            break
    if not batches:
        return pa.table({})
    return pa.concat_tables(batches, promote_options="permissive")


def _show_field(name: str, value: object) -> None:
    if isinstance(value, dict):
        output.say(f"[{name}]", "bold")
        for field, inner in value.items():
            output.say(f"  {field} = {inner!r}")
    elif isinstance(value, (list, tuple)) and value and isinstance(value[0], dict):
        output.say(f"[[{name}]]", "bold")
        for row in value:
            output.say(
                "  " + ", ".join(f"{k}={v!r}" for k, v in row.items() if v not in (None, [], ()))
            )
    else:
        output.say(f"{name} = {value!r}")
