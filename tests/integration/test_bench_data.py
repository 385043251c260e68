"""The benchmarks of the data plane, in small: every server handles all, and the page says it."""

import json
from pathlib import Path

import msgspec
import pytest

from driftloop.contracts.errors import InvalidInput
from driftloop.local.bench.chain.run import ChainOptions, run_chain
from driftloop.local.bench.page import Measured, page
from driftloop.local.bench.stages.run import StageOptions, choose, narrowed, run_stages
from driftloop.local.bench.stages.stage import Size

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs" / "explanation" / "performance.json"


def silent(_: str) -> None:
    """Nobody looks on."""


def test_stages_and_chain_fill_the_page(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    stages = run_stages(
        StageOptions(
            stages="scoring,validation",
            batches=6,
            rows=64,
            repeats=1,
            only=("ours", "limit"),
            folder=folder,
        ),
        silent,
    )
    by_name = {stage.name: stage for stage in stages}
    assert [line.server for line in by_name["scoring"].lines][:2] == ["ours", "limit"]
    assert all(line.samples[0].rows == 6 * 64 for line in by_name["validation"].lines)
    assert by_name["scoring"].engine_rows_per_s
    options = ChainOptions(
        rows=64,
        first_rate=640.0,
        most_rate=640.0,
        probe_seconds=1.0,
        confirm_seconds=1.0,
        latency_seconds=1.0,
        spike_seconds=1.0,
        folder=folder,
    )
    chain = run_chain(options, silent)
    told = chain.highest.told
    assert told.sent == told.scored == told.joined > 0
    spike = chain.spike.told
    assert spike.sent == spike.scored == spike.joined > 0
    assert chain.poisoned is not None
    poisoned = chain.poisoned.told
    assert poisoned.sent - poisoned.bad == poisoned.scored == poisoned.joined > 0
    assert poisoned.bad > 0
    assert poisoned.corrupt == 1
    assert not poisoned.refused
    assert set(chain.latency) == {"10%", "50%", "90%"}
    measured = Measured(machine="a machine", stages=stages, chain=chain)
    text = page(msgspec.json.decode(msgspec.json.encode(measured), type=Measured))
    assert "| limit |" in text
    assert "| 50% of it |" in text


def test_an_unknown_stage_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"stage: 'score'; accepted: all, scoring, "):
        run_stages(StageOptions(stages="score"), silent)


def test_an_unknown_server_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"only: 'mine'; accepted: the beginning of ours; limit"):
        run_stages(StageOptions(stages="scoring", only=("mine",)), silent)


def test_a_stage_without_a_chosen_server_is_left_out() -> None:
    chosen = choose("scoring,validation", Size(1, 1))
    assert [stage.name for stage in narrowed(chosen, ("limit",))] == ["scoring"]


def test_the_page_is_what_the_last_run_measured() -> None:
    measured = msgspec.convert(json.loads(KEPT.read_text()), Measured)
    assert KEPT.with_suffix(".md").read_text() == page(measured), "run `make bench-data`"
