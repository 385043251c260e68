"""Ids are compared by numbers made of them; what these tell is what the texts tell."""

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from driftloop.modelspec.duplicates import repeated

LIKE = ["a" * 8 + middle * 8 + "z" * 8 for middle in "bcd"]
"""Alike in all that their numbers are made of."""
SHORT = ["a", "b", "ab", "ba", "a\0", "\0a", "1234567", "12345678", "2345678", "é"]
LONG = ["123456789", "a123456789", "a123456789b", "x" * 300, "y" + "x" * 299]


def expected(batches: list[list[str | None]]) -> list[bool]:
    told = []
    for batch in batches:
        seen: set[str] = set()
        for text in batch:
            told.append(bool(text) and text in seen)
            seen.add(text or "")
    return told


def told(batches: list[list[str | None]], before: list[str | None]) -> list[bool]:
    flat = [text for batch in batches for text in batch]
    ids = pa.array([*before, *flat, "after"], pa.string()).slice(len(before), len(flat))
    found = repeated(ids, np.array([len(batch) for batch in batches]))
    return [False] * len(flat) if found is None else found.tolist()


texts = st.sampled_from([*LIKE, *SHORT, *LONG, "", None]) | st.text("ab", max_size=18)
some: Any = st.lists(st.lists(texts, max_size=9), min_size=1, max_size=4)


@given(some, st.lists(texts, max_size=3))
@example([["a", "b"], ["a", "a"]], [])
@example([[LIKE[0], LIKE[1], LIKE[2], LIKE[1]], [LIKE[0]]], [])
@example([["a" * 8, "b" * 8, "a" * 8]], [None])
def test_the_rows_whose_id_came_before_in_their_batch_are_told(
    batches: list[list[str | None]], before: list[str | None]
) -> None:
    assert told(batches, before) == expected(batches)


def test_ids_that_differ_are_never_taken_for_each_other() -> None:
    like: list[str | None] = [f"flights-{at:08}-departed" for at in range(5_000)]
    assert told([like], []) == [False] * len(like)
    assert sum(told([like, [*like[1:], like[1]]], [])) == 1
