"""The bench of estimated performance: its streams move, and windows meet their own true loss."""

import numpy as np
import pytest

from driftloop.drift.domain.estimates import ROWS
from driftloop.evidence import brier
from driftloop.evidence.estimated import NEEDED
from driftloop.local.bench.evidence.estimates import LATE, follow
from driftloop.local.bench.evidence.shifts import STEP, WAVES, Stream, tilted


def stream(rows: int, changed: int = 0) -> Stream:
    random = np.random.default_rng(0)
    features = random.normal(size=(rows, 2)).astype(np.float32)
    chances = 1 / (1 + np.exp(-features[:, 0].astype(np.float64)))
    labels = (random.random(rows) < chances).astype(np.float64)
    if changed:
        labels[changed:] = 1.0 - labels[changed:]
    answers = np.column_stack([1 - chances, chances]).astype(np.float32)
    return Stream("a stream", features, answers, labels, (0, 0), changed=changed)


def test_every_window_is_compared_with_the_true_loss_of_its_rows() -> None:
    made = stream(12_000)
    followed = follow(made)
    losses = brier(made.answers, made.labels.astype(int))
    assert followed.void == []
    assert followed.reference == pytest.approx(losses[:NEEDED].mean())
    first = followed.windows[0]
    assert first.end <= NEEDED + LATE + 2 * ROWS
    assert len(followed.windows) == (12_000 - first.end) // ROWS + 1
    for window in followed.windows:
        assert window.true == pytest.approx(losses[window.end - ROWS : window.end].mean())
        assert abs(window.estimate - window.true) < 0.03


def test_a_change_of_the_labels_is_followed_to_the_void() -> None:
    followed = follow(stream(24_000, changed=14_000))
    assert len(followed.void) == 1
    assert 14_000 + LATE < followed.void[0] <= 14_000 + LATE + 4 * ROWS


def test_a_mix_of_rows_moves_up_and_down() -> None:
    random = np.random.default_rng(1)
    covariate = random.normal(size=50_000).astype(np.float32)
    rows = 60_000
    means = covariate[tilted(covariate, rows, random)].reshape(-1, STEP).mean(axis=1)
    top = int(rows / WAVES / 4 / STEP)
    assert means[top] > 1.0
    assert means[0] == pytest.approx(0.0, abs=0.2)
    assert means[3 * top] < -1.0
