"""Two versions of a model side by side."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from driftloop.console.api.shapes import Compared, Differs, GatePair, Numbers, VersionDiff
from driftloop.console.queries.past import Past
from driftloop.console.queries.specs import history
from driftloop.console.queries.versions import known
from driftloop.contracts.manifest import Dataset, Manifest
from driftloop.contracts.state import Version
from driftloop.modelspec.check import SpecError, parse

APART: Final = ("version", "metrics", "train", "holdout", "tried")
"""Fields that are compared in a way of their own, or are of no use side by side."""


async def diff(past: Past, model: str, a: int, b: int) -> VersionDiff:
    """What two versions differ in; raises `NotFound` if there is no such version."""
    state = await past.state(model)
    one, other = await known(past, state, a), await known(past, state, b)
    specs = await _specs(past, model, one.manifest, other.manifest)
    return compare(model, one, other, specs)


def compare(
    model: str, one: Version, other: Version, specs: tuple[dict[str, Any], dict[str, Any]]
) -> VersionDiff:
    """Two versions and the specs they were trained by, as plain values (empty: not known)."""
    made = [msgspec.to_builtins(its.manifest) for its in (one, other)]
    for fields in made:
        for name in APART:
            fields.pop(name)
    mine, theirs = one.manifest, other.manifest
    return VersionDiff(
        model=model,
        a=mine.version,
        b=theirs.version,
        fields=[*_differ(made[0], made[1]), *_differ(*specs, prefix="spec.")],
        metrics=[
            Numbers(name=name, a=mine.metrics.get(name), b=theirs.metrics.get(name))
            for name in dict.fromkeys([*mine.metrics, *theirs.metrics])
        ],
        gates=list(_gates(one, other)),
        train=_compared(mine.train, theirs.train),
        holdout=_compared(mine.holdout, theirs.holdout),
    )


async def _specs(
    past: Past, model: str, one: Manifest, other: Manifest
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The specs of both; nothing where they are the same revision, or one is kept no more."""
    if one.spec_revision == other.spec_revision:
        return {}, {}
    found = {its.revision: its.text for its in (await history(past, model)).revisions}
    if one.spec_revision not in found or other.spec_revision not in found:
        return {}, {}
    try:
        first, second = (
            msgspec.to_builtins(parse(found[its.spec_revision])) for its in (one, other)
        )
    except SpecError:  # accepted by a release with other rules
        return {}, {}
    return first, second


def _differ(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> Iterator[Differs]:
    """Fields of nested tables with different values, by their paths."""
    for name in dict.fromkeys([*a, *b]):
        mine, theirs = _by_name(a.get(name)), _by_name(b.get(name))
        if isinstance(mine, dict) and isinstance(theirs, dict):
            yield from _differ(mine, theirs, f"{prefix}{name}.")
        elif mine != theirs:
            yield Differs(field=f"{prefix}{name}", a=mine, b=theirs)


def _by_name(value: Any) -> Any:
    """A list of tables with names, such as the features, as a table of them."""
    named = isinstance(value, list) and all(isinstance(v, dict) and "name" in v for v in value)
    return {its["name"]: its for its in value} if named and value else value


def _gates(one: Version, other: Version) -> Iterator[GatePair]:
    mine, theirs = ({gate.name: gate for gate in its.gates} for its in (one, other))
    for name in dict.fromkeys([*mine, *theirs]):
        yield GatePair(name=name, a=mine.get(name), b=theirs.get(name))


def _compared(a: Dataset, b: Dataset) -> Compared:
    first, last = max(a.first_seq, b.first_seq), min(a.last_seq, b.last_seq)
    shared = a.stream == b.stream and first <= last
    return Compared(a=a, b=b, first_seq=first if shared else 0, last_seq=last if shared else 0)
