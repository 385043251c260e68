"""What goes into SQL is quoted, and what comes out of versions and specs is compared."""

import msgspec
import pytest

from driftloop.console.api.shapes import SpecRevision
from driftloop.console.queries.diff import compare
from driftloop.console.queries.events import Wanted, _conditions, model_of
from driftloop.console.queries.facts import among
from driftloop.console.queries.histograms import CELLS, NAMES, OTHERS, Column, _grid, _named
from driftloop.console.queries.slices import at_gate
from driftloop.console.queries.specs import compared
from driftloop.console.queries.versions import reigns
from driftloop.contracts import why
from driftloop.contracts.headers import Origin
from driftloop.modelspec.spec import Slice
from driftloop.validation.domain.offline import _relative
from tests.support import synthetic as syn

EVIL = "x' OR '1' = '1\\"


@pytest.mark.parametrize("field", ["model", "kind", "correlation", "text"])
def test_no_text_of_a_caller_ends_its_literal(field: str) -> None:
    made = " AND ".join(_conditions(Wanted(**{field: EVIL})))  # type: ignore[arg-type]  # a text
    assert "'x\\' OR \\'1\\' = \\'1\\\\'" in made
    assert made.replace("\\\\", "").replace("\\'", "").count("'") % 2 == 0


def test_a_service_is_the_kinds_it_owns_and_an_unknown_one_is_none() -> None:
    assert _conditions(Wanted(service="drift")) == [
        "kind IN ('drift.detected', 'labels.shifted', 'performance.degraded')"
    ]
    assert _conditions(Wanted(service=EVIL)) == ["kind IN (NULL)"]


def test_none_of_no_names_is_wanted() -> None:
    assert among([]) == "IN (NULL)"
    assert among({"b", "a"}) == "IN ('a', 'b')"


def test_the_model_of_an_id() -> None:
    assert model_of("drift.detected:flights:a:b") == "flights"
    assert model_of("x:y") == model_of("") == ""


def looked(least: float, most: float, low: float, high: float) -> dict[str, object]:
    return {"given": 9, "least": least, "most": most, "ends": [low, high]}


def test_cells_are_between_the_ends_of_both_sets() -> None:
    grid = _grid(Column("x", "number"), [looked(-9, 9, 0.0, 12.0), looked(0, 99, 6.0, 24.0)])
    assert (grid.low, grid.width, grid.cells) == (0.0, 1.0, CELLS)
    assert grid.edges[-1] == 24.0


def test_few_whole_numbers_have_a_cell_each_and_one_value_is_one_cell() -> None:
    grid = _grid(Column("x", "integer"), [looked(3, 7, 3, 7)])
    assert grid.edges == [2.5, 3.5, 4.5, 5.5, 6.5, 7.5]
    assert _grid(Column("x", "number"), [looked(5, 5, 5, 5)]).edges == [4.5, 5.5]
    assert _grid(Column("x", "number"), []).cells == 1


def test_rare_categories_are_one() -> None:
    names = ["(unseen)", *(f"c{n}" for n in range(NAMES + 10))]
    both = [[0.0, *(float(n) for n in range(NAMES + 10))] for _ in range(2)]
    shown, (reference, now) = _named(names, both)
    assert (len(shown), shown[-1]) == (NAMES, OTHERS)
    assert (sum(reference), sum(now)) == (sum(both[0]), sum(both[1]))
    assert shown[:-1] == [f"c{n}" for n in range(11, NAMES + 10)]


def test_the_loss_at_the_gate_is_read_from_what_validation_says() -> None:
    import numpy as np

    gate = _relative("slice:night", np.full(4, 0.25), np.full(4, 0.5), 0.1, "brier on 4 rows")
    part = Slice(name="night", feature="hour", value=3)
    assert at_gate(part, [*syn.gates(), gate]) == 0.25
    assert at_gate(part, syn.gates()) is None


def test_versions_are_compared_by_what_differs() -> None:
    one, other = (syn.state("flights", 3, None).versions[n] for n in (1, 3))
    other = msgspec.structs.replace(other, gates=syn.gates())
    features = [{"name": "temp", "max": 1.0}, {"name": "hour", "max": 2.0}]
    wider = [{"name": "temp", "max": 3.0}, {"name": "hour", "max": 2.0}]
    found = compare("flights", one, other, ({"features": features}, {"features": wider}))
    fields = {its.field: (its.a, its.b) for its in found.fields}
    assert fields == {
        "model_sha256": ("01" * 32, "03" * 32),
        "spec.features.temp.max": (1.0, 3.0),
    }
    assert [(pair.a, pair.b and pair.b.name) for pair in found.gates] == [
        (None, "loss"),
        (None, "parity"),
    ]
    assert (found.train.first_seq, found.train.last_seq) == (0, 0)


def test_a_revision_tells_what_differs_from_the_one_before() -> None:
    made = compared(
        [
            SpecRevision(revision=n, time="", by="", text=text)
            for n, text in ((1, "a = 1\n"), (3, "a = 2\n"))
        ]
    )
    assert made[0].diff == []
    assert made[1].diff == ["--- revision 1", "+++ revision 3", "@@ -1 +1 @@", "-a = 1", "+a = 2"]


def test_reigns_end_with_the_next_champion() -> None:
    said = [*syn.promotion("flights", 2), *syn.promotion("flights", 3)]
    crowned = [told for told in syn.facts(said) if isinstance(told.event, why.CROWNED)]
    assert reigns(crowned, 2) == [(crowned[0].time, crowned[1].time)]
    assert reigns(crowned, 3) == [(crowned[1].time, "")]
    assert reigns(crowned, 1) == []


def test_a_chain_tells_each_effect_after_its_cause() -> None:
    facts = syn.facts(list(syn.promotion("flights", 3)))
    found = why.chain(list(reversed(facts)))
    assert [link.depth for link in found] == [0, 1, 2, 2, 3, 4, 5, 6]
    assert [link.fact for link in found] == facts
    loop = msgspec.structs.replace(facts[0], causation=facts[-1].id)
    assert [link.depth for link in why.chain([loop, *facts[1:]])] == [0, 1, 2, 2, 3, 4, 5, 6]


def test_two_causes_have_a_tree_each() -> None:
    said = [(syn.alarm("flights", 1), Origin()), (syn.alarm("flights", 2), Origin())]
    after = Origin(causation=said[0][0].event_id())
    facts = syn.facts([*said, (syn.concluded("flights", "run-1", 2), after)])
    found = why.chain(facts)
    assert [(link.depth, link.fact.seq) for link in found] == [(0, 1), (1, 3), (0, 2)]
