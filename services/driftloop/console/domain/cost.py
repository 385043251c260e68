"""Costs: CPU seconds of trainings and of predictions, and what they are in money."""

import math
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from driftloop.console.api.shapes.costs import PredictionCost, TrainingCost
from driftloop.console.api.shapes.versions import Cost
from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.events import CandidateTrained
from driftloop.contracts.facts import Fact

HOUR: Final = 3_600.0
MILLION: Final = 1_000_000
_FORM: Final = re.compile(r"(\d{1,12}(?:\.\d{1,12})?) ?([^\W\d_]{1,8}|[$€£¥])\Z")
ACCEPTED: Final = "a number and a currency, such as `0.04 EUR`"


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What an hour of one core costs."""

    amount: float
    currency: str


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """One process of inference between its first and its last sample: CPU seconds, rows answered.

    `model_rows` are those of one model.
    """

    cpu_seconds: float
    rows: float
    model_rows: float


def price(text: str) -> Price | None:
    """The price in a setting; None for an empty one. Raises `InvalidInput`."""
    if not text.strip():
        return None
    found = _FORM.match(text.strip())
    if found is None:
        raise InvalidInput(f"cpu_hour_price: {text!r} is no price; accepted: {ACCEPTED}")
    return Price(amount=float(found[1]), currency=found[2])


def cost(cpu_seconds: float, its: Price | None) -> Cost:
    """CPU seconds with their price."""
    if its is None:
        return Cost(cpu_seconds=cpu_seconds)
    money = cpu_seconds / HOUR * its.amount
    return Cost(cpu_seconds=cpu_seconds, money=money, currency=its.currency)


def trainings(facts: Iterable[Fact], its: Price | None) -> list[TrainingCost]:
    """The trainings among control events, in their order."""
    return [
        TrainingCost(
            version=told.event.version,
            run=told.event.run,
            trained=told.time,
            seconds=told.event.manifest.seconds,
            cost=cost(told.event.manifest.cpu_seconds, its),
        )
        for told in facts
        if isinstance(told.event, CandidateTrained)
    ]


def predictions(used: Iterable[Used], since: str, its: Price | None) -> PredictionCost | None:
    """What predictions took, from each process's use; None before a row was answered."""
    known = [one for one in used if one.cpu_seconds >= 0 and one.rows >= 0]
    cpu_seconds = math.fsum(one.cpu_seconds for one in known)
    rows = math.fsum(one.rows for one in known)
    model_rows = math.fsum(one.model_rows for one in known)
    if rows < 1:
        return None
    return PredictionCost(
        since=since,
        rows=round(rows),
        model_rows=round(model_rows),
        total=cost(cpu_seconds, its),
        per_million=cost(cpu_seconds / rows * MILLION, its),
        model_share=cost(cpu_seconds * model_rows / rows, its),
    )
