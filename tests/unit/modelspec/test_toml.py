"""A spec as TOML is the same spec."""

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from driftloop.local import demo
from driftloop.modelspec.check import from_dict, load, parse
from driftloop.modelspec.spec import Spec
from driftloop.modelspec.toml import diff, dumps
from tests.support.thorough import examples

FLIGHTS = Path(demo.__file__).parent / "flights.toml"
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
parameters = st.dictionaries(
    texts,
    st.one_of(
        st.booleans(),
        st.integers(-9, 9),
        st.floats(allow_nan=False),
        texts,
        st.lists(st.integers(0, 9), max_size=3),
    ),
    max_size=3,
)


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    names = draw(st.lists(texts.map(lambda t: f"f{t}"), min_size=1, max_size=4, unique=True))
    features: list[dict[str, Any]] = [{"name": name} for name in names]
    features[0] |= {"min": draw(st.floats(-1e9, 0)), "max": draw(st.floats(1, 1e300))}
    kinds = draw(st.lists(texts, min_size=1, max_size=30, unique=True))
    features.append({"name": "c", "type": "category", "categories": kinds, "nullable": True})
    return from_dict(
        {
            "name": "tide",
            "task": "classification",
            "description": draw(texts),
            "target": {"classes": ["no", draw(texts.filter(lambda t: t != "no"))]},
            "features": features,
            "slices": [{"name": draw(texts), "feature": "c", "value": kinds[0]}],
            "training": {"parameters": draw(parameters), "holdout": draw(st.floats(0.01, 0.5))},
            "shadow": {"level": draw(st.floats(1e-12, 0.4))},
            "approval": draw(st.sampled_from(["none", "required"])),
        }
    )


@examples(60)
@given(spec=specs())
def test_what_is_written_reads_as_the_same_spec(spec: Spec) -> None:
    assert parse(dumps(spec)) == spec


def test_the_spec_of_the_demo_comes_back_and_says_no_default_twice() -> None:
    spec = load(FLIGHTS)
    text = dumps(spec)
    assert parse(text) == spec
    assert "holdout_rows" not in text or spec.training.holdout_rows != 10_000
    assert dumps(parse(text)) == text


def test_a_parameter_that_toml_has_no_word_for_is_seen() -> None:
    made = {
        "name": "tide",
        "task": "regression",
        "features": [{"name": "a"}],
        "training": {"parameters": {"max_leaf_nodes": None, "seed": 3}},
    }
    text = dumps(from_dict(made))
    assert '# "max_leaf_nodes" is None' in text
    assert parse(text).training.parameters == {"seed": 3}


def test_a_diff_has_the_lines_that_changed() -> None:
    spec = load(FLIGHTS)
    text = dumps(spec)
    assert diff(text, text) == []
    changed = diff(text, text.replace(f'name = "{spec.name}"', 'name = "other"'))
    assert f'-name = "{spec.name}"' in changed
    assert '+name = "other"' in changed
