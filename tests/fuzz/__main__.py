"""`python -m tests.fuzz --inputs 100000 --seed 1 [--door http-v2 ...]`; exit code 1: a fault.

A failing input is kept in `.fuzz/` and made again by `--door DOOR --first NUMBER --inputs 1` and
the same seed.
"""

import argparse
import asyncio
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.fuzz.case import Door
from tests.fuzz.doors import DOORS
from tests.fuzz.run import Run
from tests.fuzz.scene import DATA_GB, Scene, limit_data

KINDS = ("taken", "refused", "closed", "busy", "late")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    names = [door.name for door in DOORS]
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first input of a door")
    parser.add_argument("--door", action="append", choices=names, help="may be given several times")
    parser.add_argument("--every", type=int, default=500, help="inputs between good requests")
    parser.add_argument("--seconds", type=float, default=math.inf, help="send for so long at most")
    parser.add_argument("--save", type=Path, default=Path(".fuzz"), help="where findings are kept")
    return parser.parse_args()


async def _run(options: argparse.Namespace, console: Console) -> int:
    doors = [door() for door in DOORS if not options.door or door.name in options.door]
    folder = Path(tempfile.mkdtemp(prefix="driftloop-fuzz-"))
    began = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    try:
        async with Scene(folder) as scene:
            console.print(
                f"seed {options.seed}; services ready in {time.monotonic() - began:.1f} s"
            )
            with Progress(*columns, console=console, refresh_per_second=2) as progress:
                bar = progress.add_task("inputs", total=options.inputs)
                run = Run(
                    scene,
                    doors,
                    options.seed,
                    options.inputs,
                    first=options.first,
                    every=options.every,
                    seconds=options.seconds,
                    save=options.save,
                    done=lambda sent: progress.update(bar, completed=sent),
                )
                try:
                    await run.go()
                finally:
                    await close(doors)
            _tell(console, run, scene, time.monotonic() - began)
        return 1 if run.findings else 0
    finally:
        if "run" in locals() and locals()["run"].findings:
            console.print(f"logs are kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


async def close(doors: Sequence[Door]) -> None:
    """End the processes that doors have."""
    for door in doors:
        close = getattr(door, "close", None)
        if close is not None:
            await close()


def _tell(console: Console, run: Run, scene: Scene, seconds: float) -> None:
    table = Table("door", "inputs", *KINDS, "ms each", "faults")
    for name, tally in run.tallies.items():
        counts = [str(tally.kinds[kind]) for kind in KINDS]
        each = f"{1e3 * tally.seconds / max(1, tally.sent):.1f}"
        table.add_row(name, str(tally.sent), *counts, each, str(tally.found))
    console.print(table)
    memory = Table("process", "MiB after a tenth", "MiB at the end")
    for name, (before, now) in scene.growth().items():
        memory.add_row(name, f"{before:.0f}", f"{now:.0f}")
    console.print(memory)
    console.print(
        f"{run.sent} inputs in {seconds:.0f} s, {run.controls} rounds of good requests,"
        f" {len(run.findings)} findings"
    )
    for found in run.findings:
        console.rule(f"{found.door} {found.first}-{found.last}")
        console.print(found.problem, markup=False, highlight=False)


def main() -> None:
    """Run and exit."""
    limit_data(DATA_GB)
    console = Console(width=None if sys.stdout.isatty() else 110)
    sys.exit(asyncio.run(_run(_options(), console)))


if __name__ == "__main__":
    main()
