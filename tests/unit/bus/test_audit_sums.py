"""The sums of the audit on sets of ids: each closes when it should, and each can fail."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from driftloop.bus.audit import ids as audit_ids
from driftloop.bus.audit.ids import IdSets, hashes
from driftloop.bus.audit.sums import TABLES, Join, Sum, count, sums

Given = dict[str, list[str]]

GOOD: Given = {
    "received": ["a", "b", "c", "d", "a", "x", "y", "dead"],
    "received-dead": ["dead", "a"],
    "valid": ["a", "b", "c", "d", "a"],
    "quarantined": ["x", "y", "d"],
    "scored": ["a", "b", "c", "a"],
    "valid-dead": ["d"],
    "asked": ["r"],
    "labels": ["a", "b", "a", "x", "late", "w", "q", "r"],
    "outcomes": ["a", "b", "r"],
    "unmatched": ["x", "a", "q"],
    "expired": ["late", "x"],
}
KEPT = {
    "rows_valid": 4,
    "quarantine": 3,
    "scored": 4,
    "labels": 7,
    "outcomes": 3,
    "unmatched": 4,
}


def made(
    folder: Path,
    given: Given,
    *,
    waiting: int = 1,
    predictions: int = 1,
    whole: bool = True,
    kept: dict[str, int] | None = None,
) -> dict[str, Sum]:
    sets = IdSets(folder)
    for kind, texts in given.items():
        sets.add(kind, hashes(pa.array(texts, pa.string())))
    copies = {kind: len(given.get(kind, [])) for kind in ("received", "labels", "outcomes")}
    join = Join(waiting_labels=waiting, waiting_predictions=predictions)
    found = count(sets.slices(), whole=whole)
    made = sums("m", copies, found, KEPT if kept is None else kept, join, whole=whole)
    return {one.name: one for one in made}


def open_sums(found: dict[str, Sum]) -> dict[str, tuple[int, int]]:
    return {name: (one.missing, one.extra) for name, one in found.items() if not one.closes}


def test_an_id_counts_once_and_as_the_best_that_it_is(tmp_path: Path) -> None:
    found = made(tmp_path, GOOD)
    assert open_sums(found) == {}
    assert found["received"].parts == {"valid": 4, "quarantined": 2, "duplicate": 1, "dead": 1}
    assert found["valid"].parts == {"scored": 3, "dead": 1}
    assert found["labels"].parts == {
        "joined": 3,
        "pending": 1,
        "unmatched": 2,
        "expired": 1,
        "duplicate": 1,
    }
    assert found["predictions"].parts == {"joined": 3, "pending": 1, "expired": 0}


@pytest.mark.parametrize(
    ("kind", "name", "broken"),
    [
        ("received", "c", {"received": (0, 1)}),
        ("valid", "c", {"received": (1, 0), "valid": (0, 1), "stream rows_valid": (0, 1)}),
        ("quarantined", "y", {"received": (1, 0), "stream quarantine": (0, 1)}),
        ("scored", "c", {"valid": (1, 0), "predictions": (0, 0), "stream scored": (0, 1)}),
        ("labels", "q", {"labels": (0, 1), "stream labels": (0, 1)}),
        ("outcomes", "b", {"labels": (1, 0), "stream outcomes": (0, 1)}),
        ("unmatched", "q", {"labels": (1, 0), "stream unmatched": (0, 1)}),
        ("expired", "late", {"labels": (1, 0), "stream unmatched": (0, 1)}),
    ],
)
def test_whatever_is_taken_away_is_missed(
    tmp_path: Path, kind: str, name: str, broken: dict[str, tuple[int, int]]
) -> None:
    given = GOOD | {kind: [text for text in GOOD[kind] if text != name]}
    found = open_sums(made(tmp_path, given))
    broken.pop("predictions", None)
    found.pop("predictions", None)
    assert found == broken


@pytest.mark.parametrize("kind", ["valid", "quarantined", "scored", "outcomes", "unmatched"])
def test_whatever_is_invented_is_seen(tmp_path: Path, kind: str) -> None:
    given = GOOD | {kind: [*GOOD[kind], "nobody's"]}
    found = open_sums(made(tmp_path, given))
    assert len(found) >= 2
    assert any(extra for _, extra in found.values())


@pytest.mark.parametrize("table", TABLES)
def test_a_row_less_or_more_in_a_table_is_seen(tmp_path: Path, table: str) -> None:
    less, more = ({**KEPT, table: KEPT[table] + by} for by in (-1, 1))
    assert open_sums(made(tmp_path, GOOD, kept=less)) == {f"stream {table}": (1, 0)}
    assert open_sums(made(tmp_path, GOOD, kept=more)) == {f"stream {table}": (0, 1)}


def test_a_row_that_was_joined_twice_is_seen(tmp_path: Path) -> None:
    found = made(tmp_path, GOOD | {"outcomes": [*GOOD["outcomes"], "b"]})
    assert open_sums(found) == {"outcomes": (0, 1)}


def test_labels_that_wait_are_told_by_the_join_and_not_found_by_subtraction(
    tmp_path: Path,
) -> None:
    assert open_sums(made(tmp_path, GOOD, waiting=0)) == {"labels": (1, 0)}
    again = made(tmp_path, GOOD, waiting=2)  # `a` has two labels and may wait a second time
    assert open_sums(again) == {}
    assert again["labels"].note == "1 more labels wait for ids decided before"
    assert open_sums(made(tmp_path, GOOD, waiting=3)) == {"labels": (0, 2)}


def test_in_a_window_more_may_wait_than_are_known_of(tmp_path: Path) -> None:
    given = GOOD | {"valid-before": ["old"], "scored-before": ["old"], "outcomes": ["a", "b", "o"]}
    given |= {"scored": [*GOOD["scored"], "old"], "labels": GOOD["labels"][:-1]}
    kept = {**KEPT, "rows_valid": 5, "scored": 5, "labels": 6}
    found = made(tmp_path, given, waiting=70, whole=False, kept=kept)
    assert open_sums(found) == {}
    assert found["labels"].parts["joined"] == 2
    assert found["valid"].parts == {"scored": 4, "dead": 1}
    assert "predictions" not in found


def test_what_telemetry_could_not_use_is_not_asked_of_the_tables(tmp_path: Path) -> None:
    given = GOOD | {"scored": ["a", "b"], "scored-unkept": ["c", "a"]}
    found = made(tmp_path, given, kept={**KEPT, "scored": 3})
    assert open_sums(found) == {}
    assert found["stream scored"].parts == {"ClickHouse": 3, "dead": 1}


def test_sets_larger_than_memory_are_counted_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_ids, "IN_MEMORY", 1_000)
    monkeypatch.setattr(audit_ids, "SLICE", 5_000)
    drawn = np.random.default_rng(7)
    sets = IdSets(tmp_path)
    expected: dict[str, set[int]] = {}
    for kind in ("received", "valid", "scored"):
        for _ in range(40):
            found = drawn.integers(-(1 << 63), (1 << 63) - 1, 700)
            found = found if kind == "received" else drawn.choice(found, 600)
            sets.add(kind, found)
            expected.setdefault(kind, set()).update(found.tolist())
    sets.add("valid", np.array([-(1 << 63), (1 << 63) - 1]))  # the ends belong to it
    expected["valid"] |= {-(1 << 63), (1 << 63) - 1}
    seen: dict[str, list[int]] = {kind: [] for kind in expected}
    parts = list(sets.slices())
    for part in parts:
        for kind, its in part.items():
            assert (its[1:] >= its[:-1]).all()
            seen[kind] += its.tolist()
    assert len(parts) > 10
    assert max(len(its) for part in parts for its in part.values()) < 5_000
    assert {kind: set(its) for kind, its in seen.items()} == expected
    assert {kind: len(its) for kind, its in seen.items()} == {
        kind: sets.copies(kind) for kind in expected
    }


def test_a_null_is_the_empty_text() -> None:
    assert hashes(pa.array(["", None, "a"])).tolist()[:2] == [hash(""), hash("")]
