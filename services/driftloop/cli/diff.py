"""`diff`: two versions of a model side by side, as the console compares them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from driftloop.cli import output
from driftloop.cli.complete import DEFAULT_CONSOLE
from driftloop.cli.options import ConsoleUrl, Json, ModelName, Token
from driftloop.contracts.facts import dataset
from driftloop.contracts.names import check_model_name

if TYPE_CHECKING:
    from driftloop.console.api.shapes import Compared, VersionDiff
    from driftloop.contracts.manifest import Gate

First = Annotated[int, typer.Argument(min=1, metavar="VERSION", help="Number of one version.")]
Other = Annotated[int, typer.Argument(min=1, metavar="OTHER", help="Number of the other.")]


def diff(
    model: ModelName,
    version: First,
    other: Other,
    json: Json = False,
    console: ConsoleUrl = DEFAULT_CONSOLE,
    token: Token = "",
) -> None:
    """Compare two versions: rows they learned from, metrics, gates, and what else differs."""
    from driftloop.cli.api import Api
    from driftloop.console.api.shapes import VersionDiff

    path = f"/api/models/{check_model_name(model)}/versions/{version}/diff/{other}"
    found = Api(console, token).get(path, VersionDiff)
    if json:
        output.as_json(found)
        return
    output.say(f"Versions {found.a} and {found.b} of {found.model}", "bold")
    for name, compared in (("train", found.train), ("holdout", found.holdout)):
        for text in _data(name, found, compared):
            output.say(text)
    names = (f"v{found.a}", f"v{found.b}")
    output.say("")
    output.table(("metric", *names, "change"), _metrics(found), right=(*names, "change"))
    output.say("")
    output.table(("gate", *names), _gates(found))
    output.say("")
    if found.fields:
        fields = ((one.field, _shown(one.a), _shown(one.b)) for one in found.fields)
        output.table(("differs in", *names), fields)
    else:
        output.say("Nothing else differs.")


def _data(name: str, found: "VersionDiff", its: "Compared") -> Iterator[str]:
    yield f"{name:>8} v{found.a}: {dataset(its.a)}"
    yield f"{'':>8} v{found.b}: {dataset(its.b)}"
    common = f"{its.a.stream} {its.first_seq}-{its.last_seq}" if its.last_seq else "nothing"
    yield f"{'':>8} in common: {common}"


def _metrics(found: "VersionDiff") -> Iterator[tuple[object, ...]]:
    for one in found.metrics:
        change = "" if one.a is None or one.b is None else f"{one.b - one.a:+.4g}"
        yield one.name, _number(one.a), _number(one.b), change


def _gates(found: "VersionDiff") -> Iterator[tuple[object, ...]]:
    for one in found.gates:
        yield one.name, _gate(one.a), _gate(one.b)


def _gate(gate: "Gate | None") -> Text:
    if gate is None:
        return Text("-", "dim")
    style = "green" if gate.passed else "bold red"
    told = "passed" if gate.passed else "FAILED"
    return Text(f"{told} {gate.value:.4g} (bound {gate.bound:.4g})", style)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"


def _shown(value: object) -> str:
    return "-" if value is None else str(value)
