"""Writes a guessed spec as TOML with comments."""

from collections.abc import Iterator

from driftloop.cli.guess import Guess, GuessedFeature
from driftloop.modelspec.toml import array, text


def render(made: Guess, file: str) -> str:
    """The spec as a TOML document; `file` is where it was guessed from."""
    return "\n".join([*_head(made, file), *_features(made), *_loop(made), ""])


def _head(made: Guess, file: str) -> Iterator[str]:
    yield f"# Guessed by `driftloop spec infer` from {file} ({made.rows:,} rows)."
    yield "# Read it once before you apply it."
    yield "# Every field that is left out has a default; docs/reference/spec.md lists them all."
    yield f"name = {text(made.name)}"
    yield f"task = {text(made.task)}"
    if made.dropped:
        yield f"# Columns that are no feature: {', '.join(made.dropped)}".replace("\n", " ")
    yield f'unknown_columns = "{"drop" if made.dropped else "reject"}"'
    yield from ("", "[target]", f"name = {text(made.target)}")
    if made.task == "classification":
        yield "# In the order of the answer's probabilities."
        yield f"classes = {array(made.classes)}"
    else:
        yield "# A loss is the error divided by this, at most 1: the width of the middle 90 %."
        yield f"scale = {made.scale:g}"
    yield from ("", "[columns]")
    yield f"event_id = {text(made.event_id)}"
    yield f"event_time = {text(made.event_time)}"
    if made.key:
        yield f"key = {text(made.key)}"


def _features(made: Guess) -> Iterator[str]:
    yield from ("", "# A row outside of these ranges goes to quarantine with its reason.")
    for feature in made.features:
        yield from _feature(feature)


def _feature(feature: GuessedFeature) -> Iterator[str]:
    yield f"[[features]]  # seen: {feature.seen}"
    yield f"name = {text(feature.name)}"
    yield f'type = "{feature.type}"'
    if feature.min is not None and feature.max is not None:
        yield f"min = {feature.min:.12g}"
        yield f"max = {feature.max:.12g}"
    if feature.categories:
        yield f"categories = {array(feature.categories)}"
        yield 'unseen = "accept"  # "reject" sends rows with a new category to quarantine'
    if feature.nullable:
        yield "nullable = true"
    yield ""


def _loop(made: Guess) -> Iterator[str]:
    first = made.first_model_rows
    yield "[training]"
    yield '# "default", the dotted path of a scikit-learn estimator, or "module:function".'
    yield 'estimator = "default"'
    yield f"window_rows = {max(30_000, made.rows)}"
    yield f"min_rows = {first}"
    yield f"min_rows_since_change = {first}"
    if made.labelled < 1_000:
        yield "holdout = 0.2"
    yield from (
        "",
        "[triggers]",
        "# The first model is trained after so many labelled rows; so is a new one.",
    )
    yield f"new_data_rows = {first}"
    yield from ("", "[drift]", f"reference_rows = {min(2_000, max(50, made.rows // 5))}")
    if made.labelled < 4_000:
        yield from ("", "[shadow]", f"min_rows = {min(200, max(30, made.labelled // 10))}")
    yield from ("", "[join]", "# How long a prediction and its label wait for each other.")
    yield f'predictions_wait = "{made.wait_days}d"'
    yield f'labels_wait = "{made.wait_days}d"'
    yield from ("", "[limits]", f"earliest = {text(made.earliest)}")
