"""A world that turns over at once: rows, labels, and a model that has to learn it anew."""

import numpy as np
import pyarrow as pa

from driftloop.modelspec.check import parse
from driftloop.modelspec.spec import Spec

BEGIN_MS = 1_704_067_200_000
"""2024-01-01."""
MINUTE_MS = 60_000
LABEL_DELAY_MS = 30 * MINUTE_MS
BAD_SHARE = 0.01
"""Rows out of range, which belong into quarantine."""

BOOTSTRAP_ROWS = 1_500
SPEC = """\
name = "{name}"
task = "classification"

[target]
classes = ["0", "1"]

[[features]]
name = "x"
min = -10
max = 10

[[features]]
name = "y"
min = -10
max = 10

[[features]]
name = "place"
type = "category"
categories = ["coast", "hill"]

[training]
estimator = "sklearn.linear_model.LogisticRegression"
window_rows = 3_000
min_rows = {bootstrap}
min_rows_since_change = 600
holdout = 0.2

[drift]
alarms_per_million = 10.0
reference_rows = 300
features = false
predictions = false

[triggers]
on = ["degraded"]
# The alarm comes early; until the cool-down is over there are enough rows to learn from.
cooldown = "2d"
new_data_rows = 500

[shadow]
min_rows = 100
max_rows = 1_000

[probation]
max_rows = 400
"""


def spec_text(name: str) -> str:
    """The spec as a user would write it."""
    return SPEC.format(name=name, bootstrap=BOOTSTRAP_ROWS)


def world_spec(name: str) -> Spec:
    """A small model with short windows, so that the loop goes round within thousands of rows."""
    return parse(spec_text(name))


def world(rows: int, change: int, seed: int = 0) -> pa.Table:
    """`rows` rows, one a minute; from row `change` on, the labels depend on `x` the other way."""
    random = np.random.default_rng(seed)
    at = np.arange(rows)
    x, y = random.normal(size=rows), random.normal(size=rows)
    sign = np.where(at < change, 3.0, -3.0)
    label = random.random(rows) < 1 / (1 + np.exp(-sign * x))
    y[random.random(rows) < BAD_SHARE] = 99.0
    times, clock = BEGIN_MS + at * MINUTE_MS, pa.timestamp("ms", tz="UTC")
    return pa.table(
        {
            "event_id": pa.array([f"w{n}" for n in at]),
            "event_time": pa.array(times, clock),
            "x": x,
            "y": y,
            "place": pa.array(np.where(at % 2, "coast", "hill")),
            "label": pa.array(label.astype(np.int64)),
            "label_time": pa.array(times + LABEL_DELAY_MS, clock),
        }
    )
