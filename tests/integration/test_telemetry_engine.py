"""Telemetry's engine and buffer on a real ClickHouse (chDB)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pyarrow as pa
import pytest
import uvloop

from driftloop.contracts.errors import InvalidInput, Overloaded
from driftloop.telemetry.buffer import Buffer
from driftloop.telemetry.domain import rows, views
from driftloop.telemetry.engine import Engine
from driftloop.telemetry.schema import migrations
from driftloop.telemetry.settings import TelemetrySettings
from tests.support.flows import rain_spec
from tests.support.scored import scored_batch

MODEL = "flights"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    made = Engine(TelemetrySettings(path=str(tmp_path / "clickhouse"), query_seconds=0.5))
    await made.open()
    yield made
    await made.close()


async def test_a_question_that_takes_too_long_is_ended(engine: Engine) -> None:
    with pytest.raises(InvalidInput, match="Timeout exceeded"):
        await engine.ask("SELECT sum(cityHash64(number)) FROM numbers(100000000000)")
    assert (await engine.ask("SELECT 1 AS a")).to_pylist() == [{"a": 1}]


async def test_a_migration_is_applied_once(engine: Engine) -> None:
    await engine.open()
    applied = await engine.ask("SELECT count() AS n, max(version) AS v FROM schema_migrations")
    there = len(migrations())
    assert applied.to_pylist() == [{"n": there, "v": there}]


async def test_views_that_are_up_to_date_are_told_after_a_restart(engine: Engine) -> None:
    made = views.views(rain_spec())
    for view in made:
        await engine.command(view.statement)
    await engine.open()
    assert await engine.views() == {view.name: view.digest for view in made}


async def test_a_value_clickhouse_refuses_costs_only_its_own_message(engine: Engine) -> None:
    buffer = Buffer(engine, rows=10, seconds=0.05, limit=1 << 20)
    good = rows.scored(MODEL, 1, scored_batch(2))
    bad = good[0], good[1].set_column(2, "event_time", pa.array(["junk", "junk"]))
    reasons = await buffer.write([good, bad, good])
    assert [bool(reason) for reason in reasons] == [False, True, False]
    assert (await engine.ask("SELECT count() AS n FROM scored FINAL")).to_pylist() == [{"n": 2}]


async def test_of_copies_in_one_insert_the_newest_is_shown(engine: Engine) -> None:
    batch, elsewhere = scored_batch(9), scored_batch(4, 9)
    copies = [rows.scored(MODEL, seq, batch) for seq in (2, 3, 1)]
    await engine.insert("scored", pa.Table.from_batches([copy for _, copy in copies]))
    await engine.insert("scored", pa.Table.from_batches([rows.scored(MODEL, 4, elsewhere)[1]]))
    shown = "SELECT seq, count() AS n FROM scored FINAL GROUP BY seq ORDER BY seq"
    expected = [{"seq": 3, "n": 9}, {"seq": 4, "n": 4}]
    assert (await engine.ask(shown)).to_pylist() == expected
    await engine.command("OPTIMIZE TABLE scored FINAL")
    assert (await engine.ask(shown.replace("FINAL", ""))).to_pylist() == expected


async def test_a_full_buffer_leaves_messages_in_the_log(engine: Engine) -> None:
    buffer = Buffer(engine, rows=10**9, seconds=3_600.0, limit=100)
    waits = asyncio.create_task(buffer.write([rows.scored(MODEL, 1, scored_batch(9))]))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="wait for ClickHouse"):
        await buffer.write([rows.scored(MODEL, 2, scored_batch(9))])
    with pytest.raises(Overloaded, match="wait for ClickHouse"):
        await buffer.room(0.0)
    await buffer.room(10.0)
    assert (await waits, buffer.full) == ([""], False)


async def test_who_waits_for_room_gets_it_one_after_the_other(engine: Engine) -> None:
    buffer = Buffer(engine, rows=10**9, seconds=3_600.0, limit=100)
    held: list[int] = []

    async def write(at: int) -> list[str]:
        await buffer.room(10.0)
        assert not buffer.full
        held.append(at)
        return await buffer.write([rows.scored(MODEL, at, scored_batch(9, 9 * at))])

    assert await asyncio.gather(*(write(at) for at in range(5))) == [[""]] * 5
    assert sorted(held) == list(range(5))
    assert (await engine.ask("SELECT count() AS n FROM scored FINAL")).to_pylist() == [{"n": 45}]


async def test_the_more_rows_wait_the_shorter_they_wait_for_others(engine: Engine) -> None:
    buffer = Buffer(engine, rows=10_000, seconds=3_600.0, limit=1 << 30)
    few = asyncio.create_task(buffer.write([rows.scored(MODEL, 1, scored_batch(9))]))
    async with asyncio.timeout(10):
        many = scored_batch(9_980, 9)  # 0.1 % below what is enough: milliseconds of the hour remain
        assert await buffer.write([rows.scored(MODEL, 2, many)]) == [""]
        assert await few == [""]


def test_rows_that_are_enough_do_not_wait_in_the_loop_that_services_run_in(tmp_path: Path) -> None:
    async def write() -> None:
        engine = Engine(TelemetrySettings(path=str(tmp_path / "clickhouse")))
        await engine.open()
        buffer = Buffer(engine, rows=20, seconds=3_600.0, limit=1 << 20)
        batches = [rows.scored(MODEL, at, scored_batch(9, 9 * at)) for at in range(6)]
        async with asyncio.timeout(10):
            assert await asyncio.gather(*(buffer.write([b]) for b in batches)) == [[""]] * 6
        await engine.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(write())
