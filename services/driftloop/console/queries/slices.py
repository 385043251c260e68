"""The champion's loss on the slices of its spec, on the newest labelled rows."""

import re
from collections.abc import Sequence
from typing import Final

from driftloop.console.api.shapes import SliceNow, Slices
from driftloop.console.queries.losses import loss_sql
from driftloop.console.queries.past import Past
from driftloop.contracts.manifest import Gate
from driftloop.contracts.sql import text
from driftloop.modelspec.spec import Slice, Spec

ROWS: Final = 20_000
"""Newest labelled rows that are looked at."""
_AT_GATE: Final = re.compile(r": ([0-9.]+) against ")
"""The candidate's own loss in the detail of a gate (`validation.domain.offline`)."""


async def slices(past: Past, model: str) -> Slices:
    """The slices beside all rows; those of the champion alone."""
    spec = (await past.bus.spec(model)).spec
    state = await past.state(model)
    (row,) = await past.ask(_losses(spec, state.champion))
    version = state.versions.get(state.champion)
    gates = version.gates if version is not None else ()
    return Slices(
        model=model,
        version=state.champion,
        loss_name=spec.loss,
        rows=row["rows"],
        loss=row["loss"],
        slices=[
            SliceNow(
                name=part.name,
                feature=part.feature,
                value=part.value,
                rows=row[f"rows{at}"],
                loss=row[f"loss{at}"],
                gate_loss=at_gate(part, gates),
            )
            for at, part in enumerate(spec.slices)
        ],
    )


def at_gate(part: Slice, gates: Sequence[Gate]) -> float | None:
    """The loss that a version had on a slice of its holdout; None where it was not judged."""
    for gate in gates:
        if gate.name == f"slice:{part.name}" and (found := _AT_GATE.search(gate.detail)):
            return float(found[1])
    return None


def _losses(spec: Spec, champion: int) -> str:
    its = f"model = {text(spec.name)} AND version = {champion}"
    newest = f"SELECT seq FROM outcomes WHERE {its} ORDER BY seq DESC LIMIT {ROWS}"
    parts = [
        f"avgIf(its, {within}) AS loss{at}, countIf(its, {within}) AS rows{at}"
        for at, within in enumerate(_within(spec, part) for part in spec.slices)
    ]
    return (
        f"SELECT {', '.join(['avg(its) AS loss', 'count(its) AS rows', *parts])} FROM"
        f" (SELECT features, {loss_sql(spec, 'answer')} AS its FROM outcomes WHERE {its}"
        f" AND seq >= (SELECT min(seq) FROM ({newest})) ORDER BY seq DESC LIMIT 1 BY event_id)"
    )


def _within(spec: Spec, part: Slice) -> str:
    """SQL: whether a row belongs to a slice, as the offline gate has it."""
    at = next(i for i, feature in enumerate(spec.features) if feature.name == part.feature)
    feature = spec.features[at]
    if feature.type == "category":
        return f"features[{at + 1}] = {feature.categories.index(str(part.value))}"
    return f"features[{at + 1}] = toFloat32({float(part.value)!r})"
