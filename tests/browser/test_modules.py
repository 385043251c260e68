"""Parts of the console's pages that decide something, each as a module in a browser of its own.

The files are given to the browser as they are; there is no system behind them.
"""

import mimetypes
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import Route

import driftloop.console
from tests.browser.browser import WITHOUT, Window, windows

pytestmark = [WITHOUT, pytest.mark.asyncio(loop_scope="module")]

STATIC: Final = Path(driftloop.console.__file__).parent / "static"
ADDRESS: Final = "http://pages.test"
RING: Final = """const { createRing } = await import("/static/pages/event-ring.js");
const facts = (from, to) => Array.from({ length: to - from + 1 }, (_, at) => ({ seq: from + at }));
const newest = (from, to) => facts(from, to).reverse();
const seen = (ring) => ring.shown().map((fact) => fact.seq);"""

_STREAM: Final = """async () => {
  // A console that counts who asks and who is connected; it says something each second.
  window.asked = 0;
  window.held = 0;
  const text = new TextEncoder();
  const say = (kind, data) => text.encode(`event: ${kind}\\ndata: ${JSON.stringify(data)}\\n\\n`);
  window.fetch = async (_, { signal }) => {
    const name = `model ${(window.asked += 1)}`;
    window.held += 1;
    const body = new ReadableStream({
      start(sender) {
        sender.enqueue(say("hello", { time: Date.now() / 1000, scopes: [], models: null }));
        sender.enqueue(say("cards", { cards: [{ name }], gone: [] }));
        const beat = setInterval(() => sender.enqueue(say("services", [])), 1000);
        signal.addEventListener("abort", () => {
          clearInterval(beat);
          window.held -= 1;
          sender.error(signal.reason);
        });
      },
    });
    return new Response(body);
  };
  const { createStore } = await import("/static/parts/store.js");
  const { createStream } = await import("/static/parts/stream.js");
  window.store = createStore();
  createStream(window.store).open({ events: 0 });
}"""
_BECOMES: Final = """(state) => {
  Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
  document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
}"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def window() -> AsyncIterator[Window]:
    """An empty page that may import the console's files."""
    async with windows(ADDRESS) as opened:
        await opened.person("ann")
        await opened.people["ann"].route("**/*", serve)
        yield await opened.open("ann", "")


async def serve(route: Route) -> None:
    """A file of the console, or an empty page."""
    name = route.request.url.removeprefix(f"{ADDRESS}/static/")
    path = STATIC / name
    if path.is_file():
        kind = mimetypes.guess_type(path)[0] or "text/plain"
        await route.fulfill(body=path.read_text(), content_type=kind)
    else:
        await route.fulfill(body="<title>x</title>", content_type="text/html")


async def gives(window: Window, code: str) -> Any:
    """What an async function with this body returns."""
    return await window.script(f"async () => {{ {code} }}")


async def test_the_ring_joins_what_came_before_the_answer(window: Window) -> None:
    code = """const ring = createRing(5);
    ring.add(facts(4, 6));
    ring.older(newest(1, 5), 0);
    return seen(ring);"""
    assert await gives(window, RING + code) == [6, 5, 4, 3, 2]


async def test_a_held_ring_stands_still_and_counts(window: Window) -> None:
    code = """const ring = createRing(5);
    ring.older(newest(1, 3), 0);
    ring.held = true;
    ring.add(facts(4, 5));
    const held = [seen(ring), ring.waiting];
    ring.held = false;
    return [held, seen(ring), ring.waiting];"""
    assert await gives(window, RING + code) == [[[3, 2, 1], 2], [5, 4, 3, 2, 1], 0]


async def test_a_full_ring_reads_on_from_its_oldest(window: Window) -> None:
    code = """const ring = createRing(3);
    ring.older(newest(1, 3), 0);
    ring.add(facts(4, 5));
    const shown = seen(ring);
    const { before } = ring;
    ring.held = true;
    ring.older(newest(1, 2), 0);
    return [shown, before, seen(ring)];"""
    assert await gives(window, RING + code) == [[5, 4, 3], 3, [5, 4, 3, 2, 1]]


async def test_what_was_missed_is_read_back_and_not_hidden_between_others(window: Window) -> None:
    code = """const ring = createRing(9);
    ring.older(newest(1, 3), 0);
    ring.tear();
    ring.add(facts(7, 8));
    const shown = seen(ring);
    const { before } = ring;
    ring.older(newest(1, 6), 0);
    return [shown, before, seen(ring)];"""
    expected = [[8, 7], 7, [8, 7, 6, 5, 4, 3, 2, 1]]
    assert await gives(window, RING + code) == expected


async def test_what_comes_to_a_held_ring_is_bounded(window: Window) -> None:
    code = """const ring = createRing(4);
    ring.older(newest(1, 2), 0);
    ring.held = true;
    for (let at = 3; at < 100; at += 1) ring.add(facts(at, at));
    const held = [seen(ring), ring.waiting];
    ring.held = false;
    return [held, seen(ring), ring.before];"""
    held, shown, before = await gives(window, RING + code)
    assert held == [[2, 1], 97]
    assert shown == [99, 98, 97, 96]
    assert before == 96


async def test_who_goes_far_back_is_told_to_begin_anew(window: Window) -> None:
    code = """const ring = createRing(2);
    ring.older(newest(20, 21), 20);
    ring.held = true;
    ring.older(newest(10, 19), 10);
    return [seen(ring), ring.cut];"""
    assert await gives(window, RING + code) == [list(range(17, 9, -1)), True]


async def test_numbers_are_written_for_people(window: Window) -> None:
    code = """const f = await import("/static/parts/format.js");
    return [f.rate(0.42), f.rate(9.97), f.rate(1204), f.loss(0.48123), f.percent(0.004),
      f.millis(7.214), f.millis(2100), f.span(119), f.span(7200), f.duration(245), f.count(null),
      f.compact(12345), f.signed(-0.0113), f.number(0.00001234),
      f.apart("2026-01-01T00:00:00Z", 1.36e12), f.dataTime(1360000000000)]
      .map((its) => String(its).replaceAll("\\u202f", " "));"""
    told = await gives(window, code)
    assert told == [
        "0.4",
        "10",
        "1,204",
        "0.4812",
        "0.4 %",
        "7.21 ms",
        "2.1 s",
        "119 s",
        "2 h",
        "4 min 05 s",
        "\u2013",
        "12.3k",
        "\u22120.0113",
        "1.23e\u22125",
        "true",
        "2013-02-04 17:46",
    ]


async def test_a_trend_is_told_once_there_are_values(window: Window) -> None:
    code = """const { trend, linePath } = await import("/static/parts/spark.js");
    return [trend([1, 2]).sign, trend([1, 1, 1, 1, 1]).sign, trend([1, 1, 1, 1, 2]).sign,
      trend([2, 1, 1, 1, 1]).sign, linePath([1, 3], 100, 20), linePath([1], 100, 20)];"""
    expected = ["", "\u2192", "\u2197", "\u2198", "M0.0 19.0L100.0 1.0", ""]
    assert await gives(window, code) == expected


async def test_the_store_takes_the_first_cards_as_all_there_are(window: Window) -> None:
    code = """const { createStore } = await import("/static/parts/store.js");
    const store = createStore();
    const hello = { time: "2026-01-01T00:00:00Z", scopes: ["read"], models: ["a"] };
    const told = [];
    store.on("cards", (its) => told.push(its));
    store.fold("hello", hello);
    store.fold("cards", { cards: [{ name: "a" }, { name: "b" }], gone: [] });
    store.fold("cards", { cards: [{ name: "c" }], gone: ["b"] });
    const before = [...store.cards.keys()];
    store.fold("hello", hello);
    store.fold("cards", { cards: [{ name: "a" }], gone: [] });
    return [before, [...store.cards.keys()], told.at(-1).gone,
      store.may("read", "a"), store.may("read", "b"), store.may("operate", "a")];"""
    assert await gives(window, code) == [["a", "c"], ["a"], ["c"], True, False, False]


async def test_a_hidden_page_gives_its_connection_back_and_glances(window: Window) -> None:
    page = await window.page.context.new_page()
    await page.clock.install()
    await page.goto(f"{ADDRESS}/")

    async def becomes(state: str) -> None:
        await page.evaluate(_BECOMES, state)

    async def counts(asked: int, held: int) -> None:
        await page.wait_for_function(
            "([asked, held]) => window.asked === asked && window.held === held", arg=[asked, held]
        )

    await page.evaluate(_STREAM)
    await counts(1, 1)
    await becomes("hidden")
    await page.clock.run_for(5_000)
    await becomes("visible")
    await page.clock.run_for(8_000)
    await counts(1, 1)  # a short look elsewhere costs nothing
    await becomes("hidden")
    await page.clock.run_for(11_000)
    await counts(1, 0)
    await page.clock.run_for(31_000)
    await counts(2, 0)
    assert await page.evaluate("() => [...window.store.cards.keys()]") == ["model 2"]
    await becomes("visible")
    await counts(3, 1)
    await page.clock.run_for(60_000)
    await counts(3, 1)
    assert await page.evaluate("() => window.store.link.state") == "live"
    await page.close()
