"""The offline gate: named checks of a candidate on a holdout newer than its training rows."""

import math
from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftloop.contracts.events import Gate, Manifest
from driftloop.modelspec.losses import Floats, baseline_answers, row_loss
from driftloop.modelspec.spec import Feature, Slice, Spec

Matrix = NDArray[np.float32]
MIN_SERVED_ROWS = 100
EXTREME = 3e38


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What onnxruntime did: answers (rows, width), finite ones to edge inputs, seconds a row."""

    answers: Matrix
    edge_rows: int
    edge_finite: int
    latency_seconds: float


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """All that the gates look at; `served` are the live answers to the same rows, NaN where none.

    Served answers were given before the labels were known, so the comparison is fair: the champion
    of today may have been trained on some of these rows.
    """

    manifest: Manifest
    features: Matrix
    labels: Floats
    reference: Matrix
    measured: Measured
    served: Matrix


def edge_inputs(spec: Spec, row: Matrix) -> Matrix:
    """Rows at the edges of the contract, made from one (1, features) row.

    One value at a time missing, unseen, smallest or largest, as far as the contract lets that
    through, and then all values at once.
    """
    edges = [_edges(feature) for feature in spec.features]
    made = [row]
    for at, values in enumerate(edges):
        for value in values:
            changed = row.copy()
            changed[0, at] = value
            made.append(changed)
    for turn in range(max(map(len, edges))):
        made.append(np.array([[values[turn % len(values)] for values in edges]], np.float32))
    return np.concatenate(made)


def _edges(feature: Feature) -> list[float]:
    """The extreme values of a feature, smallest first; then NaN if it may be missing."""
    low, high = -EXTREME, EXTREME
    if feature.type == "category":
        low, high = -1.0 if feature.unseen == "accept" else 0.0, len(feature.categories) - 1.0
    elif feature.type == "boolean":
        low, high = 0.0, 1.0
    low = low if feature.min is None else feature.min
    high = high if feature.max is None else feature.max
    return [low, high, *([math.nan] if feature.nullable else [])]


def judge(spec: Spec, case: Case) -> tuple[Gate, ...]:
    """Every gate with its number, bound and verdict, in the order a person would ask."""
    return tuple(_gates(spec, case))


def reason(gates: tuple[Gate, ...]) -> str:
    """Why a candidate was rejected, in words."""
    return "; ".join(
        f"{g.name}: {g.value:.4g} is beyond {g.bound:.4g}{f' ({g.detail})' if g.detail else ''}"
        for g in gates
        if not g.passed
    )


def _gates(spec: Spec, case: Case) -> Iterator[Gate]:
    bounds, manifest = spec.gates, case.manifest
    yield _at_most("size_mb", manifest.model_bytes / 2**20, bounds.size_mb, "")
    parity = _parity(spec, case)
    yield parity
    if not np.isfinite(parity.value):
        return  # answers of another shape, or that are no numbers, have no loss
    edges = case.measured
    detail = f"{edges.edge_rows} inputs with missing, extreme and unseen values"
    yield _at_most("edge_inputs_not_finite", edges.edge_rows - edges.edge_finite, 0, detail)
    yield _at_most("latency_ms", edges.latency_seconds * 1e3, bounds.latency_ms, "one row, median")
    loss = row_loss(spec)
    candidate = loss(case.measured.answers, case.labels)
    rows = f"{spec.loss} on {len(candidate)} rows"
    base = loss(baseline_answers(manifest.metrics, spec.width, len(candidate)), case.labels)
    yield _relative("loss_to_baseline", candidate, base, 0.0 - bounds.baseline_gain, rows)
    answered = np.isfinite(case.served).all(axis=1)
    if answered.sum() >= MIN_SERVED_ROWS:
        served = loss(case.served[answered], case.labels[answered])
        rows = f"{spec.loss} on {len(served)} rows"
        mine = candidate[answered]
        yield _relative("loss_to_champion", mine, served, bounds.loss_tolerance, rows)
        yield from _slices(spec, case.features[answered], mine, served)


def _slices(spec: Spec, features: Matrix, candidate: Floats, champion: Floats) -> Iterator[Gate]:
    for part in spec.slices:
        rows = _rows_of(spec, part, features)
        count = int(rows.sum())
        if count >= spec.gates.min_slice_rows:
            name = f"slice:{part.name}"
            detail = f"{spec.loss} on {count} rows"
            bound = spec.gates.slice_tolerance
            yield _relative(name, candidate[rows], champion[rows], bound, detail)


def _rows_of(spec: Spec, part: Slice, features: Matrix) -> NDArray[np.bool_]:
    at = next(i for i, f in enumerate(spec.features) if f.name == part.feature)
    feature = spec.features[at]
    if feature.type == "category":
        return np.asarray(features[:, at] == feature.categories.index(str(part.value)))
    return np.asarray(features[:, at] == np.float32(part.value))


def _parity(spec: Spec, case: Case) -> Gate:
    answers, wanted = case.measured.answers, (len(case.labels), spec.width)
    if answers.shape != wanted or case.reference.shape != wanted:
        shapes = f"{answers.shape}, scikit-learn's are {case.reference.shape}"
        detail = f"answers of shape {shapes}; accepted: {wanted}"
        return Gate(name="parity", value=np.inf, bound=0.0, passed=False, detail=detail)
    scale = spec.target.scale if spec.task == "regression" else 1.0
    apart = np.abs(answers.astype(np.float64) - case.reference) / scale
    worst = float(apart.max(initial=0.0)) if np.isfinite(apart).all() else float("inf")
    detail = f"onnxruntime against scikit-learn on {len(answers)} rows"
    return _at_most("parity", worst, spec.gates.parity, detail)


def _relative(name: str, candidate: Floats, other: Floats, bound: float, detail: str) -> Gate:
    """How much larger the candidate's mean loss is than the other's, as a share of the other's."""
    mine, theirs = float(candidate.mean()), float(other.mean())
    value = mine / theirs - 1.0 if theirs > 0 else float(mine > 0)
    return _at_most(name, value, bound, f"{detail}: {mine:.5f} against {theirs:.5f}")


def _at_most(name: str, value: float, bound: float, detail: str) -> Gate:
    passed = bool(np.isfinite(value)) and value <= bound
    return Gate(name=name, value=float(value), bound=bound, passed=passed, detail=detail)
