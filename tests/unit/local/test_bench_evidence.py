"""The bench about evidence in small: every section fills its tables, and the page says them."""

import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from driftloop.cli.main import make
from driftloop.contracts.errors import InvalidInput
from driftloop.evidence import BettingConfidenceSequence, verdict
from driftloop.local.bench.evidence import pairs, run
from driftloop.local.bench.evidence.page import BEGIN, END, cells, page
from driftloop.local.bench.evidence.paths import (
    FIRST,
    LOOK,
    Floats,
    bernstein,
    betting,
    rows_to_verdict,
    z_scores,
)
from driftloop.local.bench.evidence.paths import Path as Sides
from driftloop.local.bench.evidence.table import Table

ROOT = Path(__file__).parents[3]
KEPT = ROOT / "docs" / "explanation" / "evidence.json"


def part(name: str, *values: str | float) -> run.Part:
    table = Table(name="t", title="How often", columns=("rule", "share"), rows=(values,), note="n")
    return run.Part(name=name, machine="a machine", scale=1.0, tables=(table,))


def normal(seed: int, runs: int, rows: int, mean: float, sd: float = 0.06) -> Floats:
    return np.clip(np.random.default_rng(seed).normal(mean, sd, (runs, rows)), -1.0, 1.0)


def test_the_page_is_what_the_last_run_measured() -> None:
    text = KEPT.with_suffix(".md").read_text()
    assert text == page(text, run.kept(KEPT)), "run `make bench-evidence`"


@pytest.mark.parametrize("name", run.sections())
def test_each_section_fills_its_tables_at_a_tiny_scale(name: str) -> None:
    told: list[float] = []
    measured = run.measure(name, 0.001, lambda _, share: told.append(share))
    assert measured.tables
    assert all(0.0 <= share <= 1.0 for share in told)
    names = [table.name for table in measured.tables]
    assert len(set(names)) == len(names)
    for table in measured.tables:
        assert table.rows
        assert table.note
        assert all(len(row) == len(table.columns) for row in table.rows)
        numbers = [cell for row in table.rows for cell in row if not isinstance(cell, str)]
        assert all(math.isfinite(number) for number in numbers)
    assert "| " in page(f"{BEGIN}\n{END}", [measured])


def test_sections_measured_again_are_replaced_and_the_others_stay(tmp_path: Path) -> None:
    before = [part("speed", "ours", 1.0), part("promotion", "ours", 2.0)]
    parts = run.merged(before, [part("promotion", "ours", 3.0)])
    assert [(one.name, one.tables[0].rows[0][1]) for one in parts] == [
        ("promotion", 3.0),
        ("speed", 1.0),
    ]
    run.keep(tmp_path / "x.json", parts)
    assert run.kept(tmp_path / "x.json") == parts
    assert run.kept(tmp_path / "none.json") == []


def test_only_what_is_between_the_marks_is_written() -> None:
    text = page(f"# Prose\n{BEGIN}\nold\n{END}\nmore\n", [part("promotion", "a|b", 0.05)])
    assert text.startswith("# Prose\n")
    assert text.endswith(f"{END}\nmore\n")
    assert "old" not in text
    assert "| a\\|b | 0.05 |" in text
    assert page(text, [part("promotion", "a|b", 0.05)]) == text


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_a_page_without_a_place_for_tables_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="page: no place for tables; accepted: lines"):
        page(text, [])


def test_numbers_are_short_and_large_ones_have_commas() -> None:
    assert cells(part("promotion", 12_345, 0.123456, 1_234.5, 3).tables[0]) == [
        ["12,345", "0.123", "1,234", "3"]
    ]


def test_an_unknown_section_is_named_with_those_there_are() -> None:
    with pytest.raises(InvalidInput, match="only: 'alarm' is not a section; accepted: promotion"):
        run.chosen("promotion, alarm")
    assert run.chosen("promotion") == ("promotion",)
    assert run.chosen("") == run.sections()


def test_the_command_says_a_bad_page_before_it_measures(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# No marks\n")
    result = CliRunner().invoke(make(), ["bench", "evidence", "--page", f"{tmp_path}/page.md"])
    assert isinstance(result.exception, InvalidInput)


@pytest.mark.parametrize("margin", [0.0, 0.003, -0.003])
def test_the_quick_betting_of_the_bench_decides_as_the_sequence_does(margin: float) -> None:
    differences = np.vstack(
        [normal(1, 3, 4_000, 0.006), normal(2, 3, 4_000, -0.006), normal(3, 3, 4_000, margin)]
    )
    threshold = math.log(2 / 0.05)
    over, under = rows_to_verdict(betting(differences, margin), threshold)
    for at, rows in enumerate(differences):
        sequence, found = BettingConfidenceSequence(0.05, margin=margin), (0, "undecided")
        for end in range(LOOK, 4_001, LOOK):
            said = verdict(sequence.update(rows[end - LOOK : end]), margin)
            if said != "undecided" and end >= FIRST * LOOK:
                found = (end, said)
                break
        expected = {"better": (found[0], 0), "worse": (0, found[0]), "undecided": (0, 0)}
        assert (over[at], under[at]) == expected[found[1]]
    assert (over > 0).any()
    assert (under > 0).any()


def test_empirical_bernstein_is_that_of_its_definition() -> None:
    (rows,) = normal(4, 1, 300, 0.02)
    mean, variance, spent, drawn, price = 0.5, 0.25, 0.0, 0.0, 0.0
    seen, squares = 0.5, 0.25
    for t, x in enumerate((1 + rows) / 2, start=1):
        bet = min(math.sqrt(2 * math.log(40) / (variance * t * math.log(1 + t))), 0.5)
        spent, drawn = spent + bet, drawn + bet * x
        price += 4 * (x - mean) ** 2 * (-math.log(1 - bet) - bet) / 4
        seen += x
        mean = seen / (t + 1)
        squares += (x - mean) ** 2
        variance = squares / (t + 1)
    path = bernstein(rows[None, :], 0.05)
    width = (math.log(40) + price) / spent
    assert path.over[0, -1] == pytest.approx(2 * (drawn / spent - width) - 1)
    assert path.under[0, -1] == pytest.approx(-(2 * (drawn / spent + width) - 1))


def test_z_scores_are_those_of_a_paired_test_and_equal_rows_have_none() -> None:
    (rows,) = normal(5, 1, 500, 0.01)
    path = z_scores(rows[None, :])
    assert path.over[0, -1] == pytest.approx(rows.mean() / (rows.std() / math.sqrt(500)))
    assert path.under[0, -1] == -path.over[0, -1]
    assert (z_scores(np.zeros((2, 500))).over == 0.0).all()


def test_a_run_ends_with_its_first_verdict() -> None:
    early_over = np.array([[0.0, 0.0, 5.0, 0.0], [0.0, 0.0, 0.0, 5.0], [9.0, 0.0, 0.0, 0.0]])
    late_under = np.array([[0.0, 0.0, 0.0, 5.0], [0.0, 0.0, 5.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    over, under = rows_to_verdict(Sides(early_over, late_under), 1.0)
    assert over.tolist() == [3 * LOOK, 0, 0]  # the last was before `min_rows`
    assert under.tolist() == [0, 3 * LOOK, 0]


def test_real_differences_are_bounded_and_swapped_models_are_equal() -> None:
    made = pairs.equal_pairs(2_000, 10)
    assert np.abs(made.differences).max() <= 1.0
    assert 0.1 < made.loss < 0.3
    assert made.differences.size > 250_000
