"""`make screenshots`: every page of the console, light and dark, with real flights in it.

Starts a system of its own, replays some weeks of flights through six models, gives a few orders
through the operator API, and writes `docs/images/console/<page>-<theme>.png`.
"""

import argparse
import asyncio
import contextlib
import io
import logging
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from driftloop.modelspec.spec import Spec
from tests.browser.browser import CHROMIUM, SIZE, Theme, Window, Windows, windows
from tests.browser.shown import event_hash
from tests.browser.story import FIRST_ROWS, Story, december, flights, story

FOLDER: Final = Path(__file__).parents[2] / "docs" / "images" / "console"
COLOURS: Final = 192
MAIN: Final = "flights"
WAITS: Final = "flights-ewr"
"""The first version of this one waits for a second person."""
FEW: Final = 4_300
"""Flights of a smaller model: its first version and a few days of it."""
MODELS: Final = {
    "flights": "",
    "flights-ewr": "EWR",
    "flights-jfk": "JFK",
    "flights-lga": "LGA",
    "flights-jetblue": "B6",
    "flights-united": "UA",
}
"""Each model, and the airport or the airline whose flights it is for."""


def _models() -> dict[str, tuple[Spec, pa.Table]]:
    """The specs and flights; the main model is judged on more rows, for there is more to see."""
    every = december()
    made: dict[str, tuple[Spec, pa.Table]] = {}
    for name, whose in MODELS.items():
        spec, table = flights(name, approval="required" if name == WAITS else "none"), every
        if whose:
            column = "origin" if len(whose) == 3 else "carrier"
            table = every.filter(pc.equal(every[column], whose)).combine_chunks()
            spec = _replace(
                spec,
                training={"min_rows": 800, "window_rows": 4_000},
                drift={"reference_rows": 400, "alarms_per_million": 1.0},
            )
        else:
            spec = _replace(spec, shadow={"min_rows": 1_500, "max_rows": 3_000})
        made[name] = (spec, table)
    return made


def _replace(spec: Spec, **tables: dict[str, Any]) -> Spec:
    changed = {
        name: msgspec.structs.replace(getattr(spec, name), **fields)
        for name, fields in tables.items()
    }
    return msgspec.structs.replace(spec, **changed)


class Pictures:
    """Takes pictures of one window into a folder."""

    def __init__(self, window: Window, folder: Path) -> None:
        self._window = window
        self._folder = folder

    async def take(self, name: str, hash: str, *there: str, settle: float = 1.5) -> None:
        """Go there, wait until all of it can be seen, and write both pictures."""
        if hash:
            await self._window.go(hash)
        for selector in there:
            await self._window.sees(selector)
        page = self._window.page
        await page.mouse.move(0, SIZE["height"] - 1)
        for theme in get_args(Theme):
            await page.emulate_media(color_scheme=theme)
            await asyncio.sleep(settle)  # what moves on the page comes to rest
            data = await page.screenshot(animations="disabled")
            path = self._folder / f"{name}-{theme}.png"
            _write(data, path)
            _say(f"  {path.name}: {path.stat().st_size / 1_000:.0f} kB")
        await page.emulate_media(color_scheme="light")


def _write(data: bytes, path: Path) -> None:
    """A picture of few colours, which is a third of the bytes."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    few = picture.quantize(colors=COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


async def _play(told: Story) -> None:
    """All but the main model: each has its first version, some are in the middle of something."""
    for name, played in told.played.items():
        if name == MAIN:
            continue
        kind = "approval.requested" if name == WAITS else "run.finished"
        await played.play_until(kind, 1, FEW)
        await played.player.play(played.player.progress.rows + 500)
        _say(f"{name}: {played.player.progress.rows} flights")


@contextlib.asynccontextmanager
async def _traffic(told: Story) -> AsyncIterator[None]:
    """Flights and requests of all models but the main one, a few at a time."""

    async def go_on() -> None:
        while True:
            for name, played in told.played.items():
                if name not in (MAIN, WAITS):
                    await played.player.play(played.player.progress.rows + 20)
                    await told.predict(name, 1)  # few: such a row is of now, not of 2013
            await asyncio.sleep(0.2)

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _order(told: Story, model: str, command: str, **body: Any) -> None:
    answer = await told.api.post(f"/api/models/{model}/{command}", json=body)
    assert answer.status_code == 200, answer.text


async def _take(told: Story, opened: Windows, folder: Path) -> None:
    await opened.person("ann", await told.token("ann", "read", "operate"))
    await opened.person("nobody")
    login = Pictures(await opened.open("nobody"), folder)
    await login.take("login", "", "input[name=token]", settle=0.3)
    window = await opened.open("ann")
    pictures, main = Pictures(window, folder), told.played[MAIN]
    model = f"#/model/{MAIN}"
    await main.play_until("run.finished", 1, FIRST_ROWS)
    await _play(told)
    await main.play_until("performance.degraded", 1, 12_000)
    await _order(told, "flights-lga", "pause", reason="snow at LaGuardia, labels are late")
    await main.play_until("shadow.started", 1, 14_000)
    await window.go(f"{model}/evidence")  # this page draws each point as it comes
    main.player.slice_hours = 0.5
    some = main.player.progress.rows + 1_600
    await main.player.play(some, lambda: main.times("model.promoted") > 1)
    _say("a challenger is being judged")
    await pictures.take("evidence", f"{model}/evidence", ".evidence .plot-picture path")
    async with _traffic(told):
        latency = '.vrow .cell[data-column="p99"]:has-text("ms")'
        await pictures.take("overview", "#/", latency, settle=3.0)
    await main.play_until("model.promoted", 2, 16_500)
    await main.player.play(main.player.progress.rows + 300)
    await main.player.settle()
    await told.told()
    _say("it has been promoted")
    await _rest(told, window, pictures, model)


async def _rest(told: Story, window: Window, pictures: Pictures, model: str) -> None:
    spec = await told.get(f"/api/models/{MAIN}/spec")
    wider = spec["text"].replace("max = 4500.0", "max = 6000.0")
    why = "Honolulu is 4,983 miles away"
    await _order(told, MAIN, "spec", text=wider, revision=spec["revision"], reason=why)
    run = (await told.get("/api/runs", model=MAIN))["runs"][0]["id"]
    asked = await told.get("/api/events", model=MAIN, kind="retrain.requested")
    await pictures.take(
        "model", model, '.timeline path[data-tone="live"]', 'table[aria-label="Slices"]'
    )
    await pictures.take("features", f"{model}/features", "figure.feature .plot-picture")
    await pictures.take("versions", f"{model}/versions", ".model-card")
    await pictures.take(
        "compare", f"{model}/versions/1/2", 'table[aria-label="Fields that differ"]'
    )
    await pictures.take("spec", f"{model}/spec", "details.revision")
    await pictures.take("runs", f"{model}/runs", 'table[aria-label="Runs"]')
    await pictures.take("run", f"#/run/{run}", ".chain")
    await pictures.take("events", "#/events", ".vrow")
    await pictures.take("event", event_hash(asked["events"][0]["id"]), ".panel .said")
    await pictures.take("data", f"#/data?model={MAIN}", 'table[aria-label="Sums"]')
    await pictures.take("services", "#/services", 'section[aria-label="Services"] tbody tr')
    await window.go(model)
    await window.press('.actions button[data-action="rollback"]')
    await window.at("dialog.action textarea").fill("late flights are missed since the snow is gone")
    await pictures.take("action", "", "dialog.action")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)  # noqa: T201  # for people


async def _main(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="driftloop-pictures-") as data:
        async with story(Path(data), _models(), who="bob") as told, windows(told.url) as opened:
            await _take(told, opened, folder)
            for window in opened.opened:
                assert window.complaints == [], window.complaints


def main() -> int:
    """Write the pictures; 2 without a browser."""
    logging.basicConfig(level="WARNING", format="%(message)s")
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--folder", type=Path, default=FOLDER)
    if not CHROMIUM:
        print("there is no `chromium` on the PATH", file=sys.stderr)  # noqa: T201  # for people
        return 2
    folder: Path = asked.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(_main(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
