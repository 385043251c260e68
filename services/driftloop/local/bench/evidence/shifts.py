"""Streams whose covariates move, with the answers of a model that was fitted before they did."""

import asyncio
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftloop.local.flights import CATEGORICAL_FEATURES, NUMERIC_FEATURES, load_flights
from driftloop.runtime.child import Children
from driftloop.trainer.fitting import fit
from driftloop.trainer.tasks import FitTask

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

SEED: Final = 7
ROWS: Final = 200_000
"""Rows of a stream, without those that a model is fitted on."""
SPRING_MS: Final = 1_364_774_400_000
"""2013-04-01: models of the flights are fitted on what was before."""
TILT: Final = 2.0
"""The largest exponent of the weights of rows, for a covariate one standard deviation up."""
WAVES: Final = 1.5
"""Times that it goes up and down again."""
STEP: Final = 500
"""Rows drawn from one mix."""
MOST_FITTED: Final = 30_000
"""Rows that a model is fitted on, the newest."""
LEAST: Final = 8_000
THREADS: Final = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
FIT_SECONDS: Final = 300.0


class Stream(NamedTuple):
    """Rows in order: features (n, f), answers (n, width) of the fitted model, labels (n,).

    `categories` has the number of each feature, 0 for a number. `scale` is the error that is a full
    loss, 0 for a classification. At row `changed` the labels become others given the features; 0
    is never.
    """

    name: str
    features: Floats32
    answers: Floats32
    labels: Floats
    categories: tuple[int, ...]
    scale: float = 0.0
    changed: int = 0

    def rows(self, order: NDArray[np.int64]) -> "Stream":
        """These rows in this order."""
        picked = (self.features[order], self.answers[order], self.labels[order])
        return self._replace(features=picked[0], answers=picked[1], labels=picked[2])


class Flights(NamedTuple):
    """Flights that arrived, in time: features (n, 16), late or not (n,), rows before spring."""

    features: Floats32
    late: Floats
    categories: tuple[int, ...]
    fitted: int

    def column(self, name: str) -> int:
        """Where a feature is."""
        return [*NUMERIC_FEATURES, *CATEGORICAL_FEATURES].index(name)


def flights(rows: int) -> Flights:
    """The flights as matrices; of those since spring, little more than `rows`."""
    table = load_flights()
    table = table.filter(pc.is_valid(table["label"])).combine_chunks()
    columns = [table[name].to_numpy(zero_copy_only=False) for name in NUMERIC_FEATURES]
    known = [table[name].combine_chunks().dictionary_encode() for name in CATEGORICAL_FEATURES]
    columns += [column.indices.to_numpy() for column in known]
    times = table["event_time"].cast(pa.int64()).to_numpy()
    spring = int(np.searchsorted(times, SPRING_MS))
    first = max(0, spring - min(MOST_FITTED, 2 * rows))
    used = slice(first, spring + rows + rows // 4)
    return Flights(
        features=np.stack(columns, axis=1).astype(np.float32)[used],
        late=table["label"].to_numpy().astype(np.float64)[used],
        categories=(*(0 for _ in NUMERIC_FEATURES), *(len(k.dictionary) for k in known)),
        fitted=spring - first,
    )


def streams(scale: float) -> Iterator[Stream]:
    """One after the other; at `scale` 1 of `ROWS` rows each. The last one is a control."""
    rows = min(max(round(ROWS * scale), LEAST), ROWS)
    year = flights(rows)
    random = np.random.default_rng(SEED)
    late = _later("flights", year, year.features, year.late, 2)
    yield late.rows(np.arange(rows))._replace(name="late flights from April on, as they came")
    mixed = late.rows(tilted(late.features[:, year.column("hour")], rows, random))
    yield mixed._replace(name="late flights, the mix of hours moves")
    yield _drawn(year, random).rows(np.arange(rows))
    origin = year.column("origin")
    others = np.delete(year.features, origin, axis=1)
    place = _later("flights", year, others, year.features[:, origin].astype(np.float64), 3)
    place = place._replace(categories=tuple(np.delete(year.categories, origin).tolist()))
    mixed = place.rows(tilted(place.features[:, year.column("distance")], rows, random))
    yield mixed._replace(name="origin of flights (3 classes), the mix of distances moves")
    yield _noisy(rows, random)
    yield _changed(late, rows, random)


def _later(name: str, year: Flights, features: Floats32, labels: Floats, classes: int) -> Stream:
    """What is after spring, and the answers of a model of what was before."""
    known, new = slice(0, year.fitted), slice(year.fitted, None)
    answers = _answers(features[known], labels[known], features[new], classes)
    return Stream(name, features[new], answers, labels[new], year.categories)


def _drawn(year: Flights, random: np.random.Generator) -> Stream:
    """The flights as they came, with labels drawn from chances that depend on the features only.

    The chances are those of a model of all flights here, made more extreme.
    """
    every = slice(None, None, max(1, len(year.late) // MOST_FITTED))
    chances = _answers(year.features[every], year.late[every], year.features, 2)[:, 1]
    odds = 1.5 * np.log(chances / (1.0 - chances)) + 0.5
    labels = (random.random(len(odds)) < 1.0 / (1.0 + np.exp(-odds))).astype(np.float64)
    return _later("flights as they came, labels of fixed chances", year, year.features, labels, 2)


def _noisy(rows: int, random: np.random.Generator) -> Stream:
    """A regression whose noise grows with the first feature, whose mean moves from 0 to 2."""
    count = LEAST
    mean = np.concatenate([np.zeros(count), np.linspace(0.0, 2.0, rows)])
    features = random.normal(size=(count + rows, 5))
    features[:, 0] += mean
    noise = 0.2 + 1.0 / (1.0 + np.exp(-2.0 * features[:, 0]))
    labels = features[:, 0] + np.sin(2.0 * features[:, 1]) + features[:, 2] * features[:, 3]
    labels += noise * random.normal(size=len(labels))
    made = features.astype(np.float32)
    answers = _answers(made[:count], labels[:count], made[count:], 0)
    name = "regression, rows move to where noise is larger"
    return Stream(name, made[count:], answers, labels[count:], (0,) * 5, scale=4.0)


def _changed(late: Stream, rows: int, random: np.random.Generator) -> Stream:
    """Shuffled flights; from the middle on three of ten are labelled the other way round."""
    made = late.rows(random.permutation(len(late.labels))[:rows])
    labels = made.labels.copy()
    other = random.random(rows) < 0.3
    other[: rows // 2] = False
    labels[other] = 1.0 - labels[other]
    return made._replace(name="control", labels=labels, changed=rows // 2)


def tilted(covariate: Floats32, rows: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Rows drawn with weights exp(tilt * covariate), the tilt going up and down in waves."""
    centred = covariate.astype(np.float64)
    units = np.clip((centred - centred.mean()) / centred.std(), -3.0, 3.0)
    parts = []
    for start in range(0, rows, STEP):
        weights = np.exp(TILT * np.sin(2.0 * np.pi * WAVES * start / rows) * units)
        sums = np.cumsum(weights)
        parts.append(np.searchsorted(sums, random.random(STEP) * sums[-1]))
    return np.concatenate(parts)[:rows]


def _answers(known: Floats32, labels: Floats, rows: Floats32, classes: int) -> Floats32:
    """The answers to `rows` of the default estimator, fitted in a child on the known rows."""
    task = FitTask(
        estimator="default",
        parameters={},
        task="classification" if classes else "regression",
        classes=tuple(map(str, range(classes))),
        seed=SEED,
        features=known,
        labels=labels,
        holdout=rows,
        holdout_labels=np.zeros(len(rows)),
    )

    async def answers() -> Floats32:
        children = Children(("driftloop.trainer.fitting",), THREADS)
        try:
            return (await children.run(FIT_SECONDS, fit, task)).answers
        finally:
            await children.close()

    return asyncio.run(answers())
