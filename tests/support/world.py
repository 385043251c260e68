"""A world that turns over at once: rows, labels and the spec of a model that has to learn it anew."""

from typing import Any

import numpy as np
import pyarrow as pa

from driftloop.modelspec.check import from_dict
from driftloop.modelspec.spec import Spec

BEGIN_MS = 1_704_067_200_000
"""2024-01-01."""
MINUTE_MS = 60_000
LABEL_DELAY_MINUTES = 30
QUARANTINED_SHARE = 0.01


def world_spec(name: str) -> Spec:
    """A small model with short windows, so that the loop goes round within thousands of rows."""
    made: dict[str, Any] = {
        "name": name,
        "task": "classification",
        "target": {"classes": ["0", "1"]},
        "features": [
            {"name": "x", "min": -10, "max": 10},
            {"name": "y", "min": -10, "max": 10},
            {"name": "place", "type": "category", "categories": ["coast", "hill"]},
        ],
        "training": {
            "estimator": "sklearn.linear_model.LogisticRegression",
            "window_rows": 3_000,
            "min_rows": 1_500,
            "min_rows_since_change": 600,
            "holdout": 0.2,
        },
        "drift": {"alarms_per_million": 10.0, "reference_rows": 300, "features": False, "predictions": False},
        "triggers": {"on": ["degraded"], "cooldown": "2d", "new_data_rows": 500},
        "shadow": {"min_rows": 100, "max_rows": 1_000},
        "probation": {"max_rows": 400},
    }
    return from_dict(made)


def world(rows: int, change: int, seed: int = 0) -> pa.Table:
    """`rows` rows, one a minute; from row `change` on, the labels depend on `x` the other way."""
    random = np.random.default_rng(seed)
    at = np.arange(rows)
    x, y = random.normal(size=rows), random.normal(size=rows)
    sign = np.where(at < change, 3.0, -3.0)
    label = random.random(rows) < 1 / (1 + np.exp(-sign * x))
    y[random.random(rows) < QUARANTINED_SHARE] = 99.0  # out of its range
    times = BEGIN_MS + at * MINUTE_MS
    return pa.table(
        {
            "event_id": pa.array([f"w{n}" for n in at]),
            "event_time": pa.array(times, pa.timestamp("ms", tz="UTC")),
            "x": x,
            "y": y,
            "place": pa.array(np.where(at % 2, "coast", "hill")),
            "label": pa.array(label.astype(np.int64)),
            "label_time": pa.array(
                times + LABEL_DELAY_MINUTES * MINUTE_MS, pa.timestamp("ms", tz="UTC")
            ),
        }
    )
