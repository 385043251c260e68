"""Evidence that is valid at every look: confidence sequences, alarm budgets, losses, metrics."""

from driftloop.evidence.budget import split_alarm_budget
from driftloop.evidence.interval import Interval
from driftloop.evidence.losses import (
    CLASSIFICATION_LOSSES,
    REGRESSION_LOSSES,
    Loss,
    ScaledLoss,
    brier,
    clipped_log_loss,
    loss_function,
    scaled_absolute,
    scaled_squared,
    zero_one,
)
from driftloop.evidence.metrics import (
    accuracy,
    brier_score,
    log_loss,
    mean_absolute_error,
    roc_auc,
    root_mean_squared_error,
)
from driftloop.evidence.sequence import BettingConfidenceSequence
from driftloop.evidence.spending import share_of_level
from driftloop.evidence.verdict import Verdict, verdict

__all__ = [
    "CLASSIFICATION_LOSSES",
    "REGRESSION_LOSSES",
    "BettingConfidenceSequence",
    "Interval",
    "Loss",
    "ScaledLoss",
    "Verdict",
    "accuracy",
    "brier",
    "brier_score",
    "clipped_log_loss",
    "log_loss",
    "loss_function",
    "mean_absolute_error",
    "roc_auc",
    "root_mean_squared_error",
    "scaled_absolute",
    "scaled_squared",
    "share_of_level",
    "split_alarm_budget",
    "verdict",
    "zero_one",
]
