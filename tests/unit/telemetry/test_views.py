"""A model's views name its features, and give way to them."""

import msgspec
import pytest

from driftloop.contracts.sql import identifier, text
from driftloop.modelspec.spec import Feature, Spec, Target
from driftloop.telemetry.domain.views import views

SPEC = Spec(
    name="flights",
    task="classification",
    target=Target(name="late", classes=("no", "yes")),
    features=(
        Feature(name="hour", type="integer"),
        Feature(name="carrier", type="category", categories=("UA", "it's")),
        Feature(name="key"),
    ),
)


def view_statements(spec: Spec) -> list[str]:
    return [view.statement for view in views(spec)]


def test_a_view_is_told_from_that_of_another_spec_by_its_comment() -> None:
    first, _ = views(SPEC)
    assert first.name == "flights_scored"
    assert first.statement.endswith(f"COMMENT '{first.digest}'")
    assert views(SPEC)[0].digest == first.digest
    other = msgspec.structs.replace(SPEC, features=SPEC.features[:2])
    assert views(other)[0].digest != first.digest


def test_a_view_is_made_of_scored_rows_and_one_of_outcomes() -> None:
    scored, outcomes = view_statements(SPEC)
    assert scored.startswith("CREATE OR REPLACE VIEW `flights_scored` AS SELECT")
    assert "FROM scored AS t FINAL WHERE t.model = 'flights'" in scored
    assert "AS `late`" in outcomes
    assert "AS `late`" not in scored


def test_categories_are_shown_as_their_text() -> None:
    assert "['UA', 'it\\'s']" in view_statements(SPEC)[0]


def test_a_column_of_ours_gives_way_to_a_feature_of_the_same_name() -> None:
    scored = view_statements(SPEC)[0]
    assert "arrayElementOrNull(t.features, 3), NULL) AS `key`" in scored
    assert "t.`key` AS `key_`" in scored


def test_the_latency_is_shown_of_scored_rows() -> None:
    scored, outcomes = view_statements(SPEC)
    assert "t.latency AS `latency`" in scored
    assert "latency" not in outcomes


def test_the_answer_has_a_column_a_class_or_the_predicted_value() -> None:
    assert "AS `p_yes`" in view_statements(SPEC)[0]
    regression = Spec(name="delay", task="regression", features=(Feature(name="hour"),))
    assert "arrayElementOrNull(t.answer, 1) AS `predicted`" in view_statements(regression)[0]


@pytest.mark.parametrize("quote", [identifier, text])
def test_what_is_quoted_cannot_end_its_quotes(quote: object) -> None:
    assert callable(quote)
    made = quote("a`b'c\\")
    assert made[0] == made[-1]
    assert made[0] not in made[1:-1].replace("\\\\", "").replace("\\" + made[0], "")
