"""What a champion learned from against what comes now: its features, and its answers."""

from collections.abc import Iterator, Mapping
from typing import Final

from driftloop.console.api.shapes import Distribution, Features, LastAlarm
from driftloop.console.queries.facts import millis, select
from driftloop.console.queries.histograms import Column, Shares, histograms
from driftloop.console.queries.past import Past
from driftloop.contracts.alarms import DriftDetected
from driftloop.contracts.facts import Fact
from driftloop.contracts.manifest import Manifest
from driftloop.contracts.sql import text
from driftloop.modelspec.spec import Feature, Spec

NOW_ROWS: Final = 20_000
"""Newest scored rows that are looked at; fewer of many features."""
VALUES: Final = 1_000_000
"""Numbers looked at, of either set: of a longer reference every second row or fewer."""
ALARMS: Final = 200
"""Newest alarms among which that about a feature is looked for."""
TRUTHS: Final = ("false", "true")


async def features(past: Past, model: str) -> Features:
    """The distributions of a model; without a champion there is no reference."""
    spec = (await past.bus.spec(model)).spec
    state = await past.state(model)
    version = state.versions.get(state.champion)
    made = version.manifest if version is not None else None
    lately = f"SELECT seq FROM scored WHERE model = {text(model)} ORDER BY seq DESC LIMIT"
    newest = f"{lately} {min(NOW_ROWS, VALUES // len(spec.features))}"
    inputs = await histograms(past, _inputs(spec), _trained_on(spec, made), _now(spec, newest))
    answers = await histograms(past, _answers(spec), *_answered(spec, state.champion))
    shares = await _standing(past, model)
    alarms = await _alarms(past, model)
    first, last = await _ends(past, spec, newest)
    watched = {feature.name for feature in spec.features if feature.monitor}
    return Features(
        model=model,
        version=state.champion,
        reference_rows=inputs.reference_rows,
        now_rows=inputs.now_rows,
        from_time=first,
        until_time=last,
        features=[
            _distribution(its, shares if its.column.name in watched else {}, alarms)
            for its in inputs.shares
        ],
        predictions=[
            _distribution(its, shares, alarms) for its in answers.shares if its.column.name
        ],
    )


def _inputs(spec: Spec) -> list[Column]:
    return [Column(f.name, f.type, _names(f)) for f in spec.features]


def _names(feature: Feature) -> tuple[str, ...]:
    return TRUTHS if feature.type == "boolean" else feature.categories


def _answers(spec: Spec) -> list[Column]:
    """The columns of an answer by the names of their detectors; of two classes one says it all."""
    if spec.task == "regression":
        return [Column("prediction", "number")]
    if len(spec.target.classes) == 2:
        return [Column("", "number"), Column("prediction", "number")]
    return [Column(f"prediction:{c}", "number") for c in spec.target.classes]


def _once(columns: str, table: str, where: str) -> str:
    """Rows, each once though it came twice: `FINAL` would read all columns of all rows."""
    return f"SELECT {columns} FROM {table} WHERE {where} ORDER BY seq DESC LIMIT 1 BY event_id"


def _trained_on(spec: Spec, made: Manifest | None) -> str:
    """The features of the training rows, in the order of the spec as it is now."""
    if made is None:
        return "SELECT emptyArrayFloat32() AS x"
    names, train = [feature.name for feature in spec.features], made.train
    column = "features"
    if names != list(made.features):
        places = [made.features.index(n) + 1 if n in made.features else 0 for n in names]
        column = f"arrayMap(at -> if(at = 0, toFloat32('nan'), features[at]), {places})"
    every = -(-train.rows * len(spec.features) // VALUES)
    thinned = f" AND cityHash64(event_id) % {every} = 0" if every > 1 else ""
    where = f"model = {text(spec.name)} AND seq BETWEEN {train.first_seq} AND {train.last_seq}"
    return _once(f"{column} AS x", "outcomes", where + thinned)


def _now(spec: Spec, newest: str) -> str:
    where = f"model = {text(spec.name)} AND seq >= (SELECT min(seq) FROM ({newest}))"
    return _once("features AS x", "scored", where)


def _answered(spec: Spec, champion: int) -> tuple[str, str]:
    """The champion's first answers, from which drift learned what is usual, and its newest."""
    its = f"model = {text(spec.name)} AND version = {champion}"
    seqs = f"SELECT seq FROM scored WHERE {its} ORDER BY seq"
    first = f"(SELECT max(seq) FROM ({seqs} LIMIT {spec.drift.reference_rows}))"
    last = f"(SELECT min(seq) FROM ({seqs} DESC LIMIT {NOW_ROWS}))"
    return (
        _once("answer AS x", "scored", f"{its} AND seq <= {first}"),
        _once("answer AS x", "scored", f"{its} AND seq >= {last}"),
    )


async def _ends(past: Past, spec: Spec, newest: str) -> tuple[int, int]:
    sql = (
        "SELECT min(event_time) AS first, max(event_time) AS last FROM scored"
        f" WHERE model = {text(spec.name)} AND seq >= (SELECT min(seq) FROM ({newest}))"
    )
    rows = await past.ask(sql)
    return (millis(rows[0]["first"]), millis(rows[0]["last"])) if rows else (0, 0)


async def _standing(past: Past, model: str) -> Mapping[str, float]:
    """Each detector's share of what makes an alarm, as drift said last."""
    its = f"FROM drift_scores WHERE model = {text(model)}"
    sql = (
        f"SELECT detector, argMax(evidence, (at, seq)) AS share {its}"
        f" AND at > (SELECT max(at) {its}) - INTERVAL 1 HOUR GROUP BY detector"
    )
    return {row["detector"]: row["share"] for row in await past.ask(sql)}


async def _alarms(past: Past, model: str) -> dict[str, LastAlarm]:
    """The newest drift alarm of each detector that had a part in one."""
    facts = await select(past, model, "kind = 'drift.detected'", ALARMS, _is_drift)
    return dict(pair for told in facts for pair in _parts(told))


def _is_drift(told: Fact) -> bool:
    return isinstance(told.event, DriftDetected)


def _parts(told: Fact) -> Iterator[tuple[str, LastAlarm]]:
    alarm = told.event
    if not isinstance(alarm, DriftDetected):
        return
    shares = {part.detector: part.share for part in alarm.parts} or {alarm.detector: 1.0}
    for detector, share in shares.items():
        yield (
            detector,
            LastAlarm(
                id=told.id,
                time=told.time,
                data_time=alarm.data_time,
                since_time=alarm.since_time,
                share=share,
                text=told.text,
            ),
        )


def _distribution(
    its: Shares, standing: Mapping[str, float], alarms: Mapping[str, LastAlarm]
) -> Distribution:
    return Distribution(
        name=its.column.name,
        type=its.column.type,
        edges=its.edges,
        names=its.names,
        reference=its.reference,
        now=its.now,
        missing=its.missing,
        distance=its.distance,
        share=standing.get(its.column.name),
        alarm=alarms.get(its.column.name),
    )
