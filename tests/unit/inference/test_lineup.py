import msgspec

from driftloop.contracts.state import ModelState
from driftloop.inference.domain.lineup import Lineup, lineup, misfit
from tests.support.tiny_models import manifest, spec, state

ONE, TWO, THREE = (manifest(version, b"%d" % version) for version in (1, 2, 3))


def test_without_a_state_or_a_promotion_nobody_answers() -> None:
    assert lineup(None) == Lineup(None, ())
    assert lineup(ModelState(model="flights")) == Lineup(None, ())


def test_champion_and_shadows_answer_each_once() -> None:
    assert lineup(state(1, ONE, TWO, THREE, shadows=(2, 3, 2))) == Lineup(ONE, (TWO, THREE))


def test_the_champion_is_not_its_own_shadow() -> None:
    assert lineup(state(2, ONE, TWO, shadows=(2, 1))) == Lineup(TWO, (ONE,))


def test_a_shadow_may_answer_before_there_is_a_champion() -> None:
    assert lineup(state(0, ONE, shadows=(1,))) == Lineup(None, (ONE,))


def test_a_version_fits_the_features_it_was_trained_on_in_their_order() -> None:
    assert misfit(ONE, spec()) == ""
    told = misfit(ONE, spec(features=("b", "a", "c")))
    assert told.endswith("with features a, b, c; the spec now has b, a, c")


def test_a_version_fits_the_classes_it_was_trained_on() -> None:
    target = msgspec.structs.replace(spec().target, classes=("x", "y", "z"))
    wider = msgspec.structs.replace(spec(), target=target)
    assert misfit(ONE, wider).endswith("with answers of width 2; the spec now has 3")
