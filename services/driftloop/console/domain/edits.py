"""What an edit of a spec would change, and whether it may be made from a browser."""

import difflib
import re
import tomllib
from collections.abc import Iterator
from typing import Any, Final

from driftloop.console.api.shapes.actions import Check, DiffLine, Problem
from driftloop.modelspec.check import SpecError, parse
from driftloop.modelspec.spec import Registered, Spec
from driftloop.modelspec.toml import dumps

LIBRARY: Final = "sklearn."
CONTEXT: Final = 3
"""Lines around a change that are shown with it."""
CUT: Final = "..."
"""Stands for the lines between two changes."""
_ACCEPTED: Final = "; accepted: "
_SHOWN: Final = 200


def check(text: str, registered: Registered, revision: int | None = None) -> Check:
    """What `text` would change of the registered spec, and every problem it has."""
    try:
        made = accepted(text, registered.spec)
    except SpecError as error:
        problems = [_problem(line, text) for line in error.problems]
        return Check(ok=False, revision=registered.revision, problems=problems, diff=[])
    lines = list(diff(dumps(registered.spec), dumps(made)))
    notes = list(_notes(made, registered, revision))
    return Check(ok=True, revision=registered.revision, problems=[], diff=lines, notes=notes)


def accepted(text: str, known: Spec) -> Spec:
    """The spec in a TOML text; raises `SpecError` for one that may not take the place of `known`.

    `training.estimator` names code that the trainer imports and runs. Who may change it has a key
    of the broker, or the files of the trainer; a token does not do.
    """
    spec = parse(text)
    if spec.name != known.name:
        raise SpecError([f"name: {spec.name!r} is another model{_ACCEPTED}{known.name}"])
    estimator = spec.training.estimator
    usual = estimator == "default" or (estimator.startswith(LIBRARY) and ":" not in estimator)
    if not usual and estimator != known.training.estimator:
        raise SpecError(
            [
                f"training.estimator: {estimator!r} is code that the trainer would run{_ACCEPTED}"
                f"{known.training.estimator!r}, 'default', or a class of scikit-learn; register "
                "others with `driftloop spec apply FILE`"
            ]
        )
    return spec


def diff(before: str, after: str) -> Iterator[DiffLine]:
    """The lines that differ, each with a few of those around it; nothing where all are the same."""
    old, new = before.splitlines(), after.splitlines()
    found = list(difflib.unified_diff(old, new, lineterm="", n=CONTEXT))[2:]
    for number, line in enumerate(found):
        if not line.startswith("@@"):
            yield DiffLine(sign=line[:1], text=line[1:])
        elif number:
            yield DiffLine(sign=" ", text=CUT)


def _notes(made: Spec, registered: Registered, revision: int | None) -> Iterator[str]:
    known = registered.spec
    if revision is not None and revision != registered.revision:
        yield (
            f"Revision {registered.revision} by {registered.by} came after the one that was edited:"
            " it will not be replaced unseen."
        )
    if made == known:
        yield "Nothing changes."
    if _names(made) != _names(known) or made.width != known.width:
        yield (
            "Inputs or the number of classes change: no version there is fits, and none answers "
            "before one is trained on the new form."
        )
    elif (made.features, made.target) != (known.features, known.target):
        yield "The meaning of inputs or answers may change: the champion learned from the old one."


def _names(spec: Spec) -> list[str]:
    return [feature.name for feature in spec.features]


def _problem(line: str, text: str) -> Problem:
    told, _, accepted_ = line.rpartition(_ACCEPTED)
    field, _, what = told.partition(": ")
    return Problem(field=field, value=_value(field, text), accepted=accepted_, text=what)


def _value(field: str, text: str) -> str:
    """What stands in the document at `training.windows` or `features[2].min`, as far as it goes."""
    try:
        found: Any = tomllib.loads(text)
        for step in re.findall(r"[^.\[\]]+", field):
            found = found[int(step)] if isinstance(found, list) else found[step]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return ""
    return str(found)[:_SHOWN]
