"""Shapes of costs: CPU seconds, and money where a price of an hour of one core is set."""

import msgspec

from driftloop.console.api.shapes.versions import Cost


class TrainingCost(msgspec.Struct, frozen=True, kw_only=True):
    """What the training of a version took: its fits on all windows, and their conversion."""

    version: int
    run: str
    trained: str
    seconds: float
    cost: Cost


class PredictionCost(msgspec.Struct, frozen=True, kw_only=True):
    """What inference took for `rows` answered rows of all models together, shadows included.

    One process answers for all models, so each row bears the same share. `rows` and `model_rows`
    (those of the model) are of the samples from `since` on, of the newest 30 days at most.
    """

    since: str
    rows: int
    model_rows: int
    total: Cost
    per_million: Cost
    model_share: Cost


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """Costs of a model. `price` is of an hour of one core, in `currency`; None if none is set.

    `predictions` is None without a measurement. Trainings that failed say no CPU seconds; `failed`
    counts them.
    """

    model: str
    price: float | None
    currency: str
    trainings: list[TrainingCost]
    training: Cost
    failed: int
    predictions: PredictionCost | None
