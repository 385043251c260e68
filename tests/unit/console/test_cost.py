"""CPU seconds in money, per training and per million predictions."""

import pytest

from driftloop.console.domain.cost import Price, Used, cost, predictions, price, trainings
from driftloop.contracts.errors import InvalidInput
from tests.support import synthetic as syn

EUR = Price(amount=0.04, currency="EUR")


@pytest.mark.parametrize(
    ("text", "amount", "currency"),
    [("0.04 EUR", 0.04, "EUR"), ("1€", 1.0, "€"), (" 2.5 $ ", 2.5, "$"), ("12 kr", 12.0, "kr")],
)
def test_a_price_is_a_number_and_a_currency(text: str, amount: float, currency: str) -> None:
    assert price(text) == Price(amount=amount, currency=currency)


def test_without_a_price_there_is_no_money() -> None:
    assert price("") is None
    assert cost(3_600.0, None).money is None


@pytest.mark.parametrize("text", ["EUR", "0.04", "0,04 EUR", "-1 EUR", "nan EUR", "1e3 EUR", "1 _"])
def test_what_is_no_price_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no price; accepted: a number and a currency"):
        price(text)


def test_an_hour_of_one_core_costs_the_price() -> None:
    assert cost(3_600.0, EUR).money == pytest.approx(0.04)


def test_the_trainings_are_those_of_the_manifests() -> None:
    facts = syn.facts([*syn.promotion("flights", 7), *syn.promotion("flights", 8)])
    found = trainings(facts, EUR)
    assert [(one.version, one.run) for one in found] == [(7, "run-0007"), (8, "run-0008")]
    assert found[0].cost.cpu_seconds == 11.9
    assert found[0].cost.money == pytest.approx(11.9 / 3_600 * 0.04)


def test_a_million_predictions_cost_what_all_processes_used_for_all_rows() -> None:
    used = [
        Used(cpu_seconds=30.0, rows=1_000_000, model_rows=1_000_000),
        Used(cpu_seconds=30.0, rows=2_000_000, model_rows=0),
    ]
    found = predictions(used, "", EUR)
    assert found is not None
    assert (found.rows, found.model_rows) == (3_000_000, 1_000_000)
    assert found.per_million.cpu_seconds == pytest.approx(20.0)
    assert found.model_share.cpu_seconds == pytest.approx(20.0)
    assert found.total.money == pytest.approx(60 / 3_600 * 0.04)


def test_without_a_row_a_prediction_has_no_cost() -> None:
    assert predictions([Used(cpu_seconds=3.0, rows=0, model_rows=0)], "", EUR) is None
    assert predictions([], "", EUR) is None
