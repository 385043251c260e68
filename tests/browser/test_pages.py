"""Pages of the console over answers that are given to them, without a system behind them."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route

from tests.browser.browser import WITHOUT, windows
from tests.browser.test_modules import ADDRESS, STATIC, serve

pytestmark = [WITHOUT, pytest.mark.asyncio(loop_scope="module")]

STYLES: Final = re.findall(r'href="(/static/[^"]+\.css)"', (STATIC / "index.html").read_text())
RUN: Final = "run-0123456789ab"
ALARM: Final[dict[str, Any]] = {
    "seq": 7,
    "id": "drift.detected:flights:1",
    "time": "2026-11-22T12:13:01.000000+00:00",
    "kind": "drift.detected",
    "model": "flights",
    "correlation": RUN,
    "causation": "",
    "text": "prediction shift",
    "service": "drift",
    "event": {},
}
CARD: Final[dict[str, Any]] = {
    "name": "flights",
    "champion": 1,
    "champion_since": "",
    "rate": 0.0,
    "p99_ms": None,
    "loss": 0.5,
    "loss_name": "brier",
    "loss_trend": [],
    "drift": "calm",
    "drift_share": 0.0,
    "run": None,
    "accounting": "closed",
    "missing": 0,
    "audited": "",
    "alarms": [],
    "silences": [],
    "paused": None,
    "waiting": 0,
    "trouble": 0,
    "tone": "quiet",
    "trouble_text": "",
}
HEADER: Final = """const { header } = await import("/static/pages/model-header.js");
const top = header({ name: "flights", store });
root.append(top.element);
window.shown = top;
"""
_HEAD: Final = """const { createStore } = await import("/static/parts/store.js");
const store = createStore();
const scopes = ["read", "operate"];
store.fold("hello", { time: new Date().toISOString(), user: "", scopes, models: null });
const root = document.createElement("main");
root.className = "page";
root.setAttribute("data-may", "");
document.body.append(root);
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def page() -> AsyncIterator[Page]:
    async with windows(ADDRESS) as opened:
        await opened.person("ann")
        await opened.people["ann"].route("**/*", serve)
        yield (await opened.open("ann", "")).page


async def shows(page: Page, code: str, answers: dict[str, Any]) -> None:
    """Begin an empty document with the console's styles and run this code in it.

    `answers` are JSON by path; (status, JSON) is a refusal.
    """

    async def told(route: Route) -> None:
        found = answers.get(re.sub(r"\?.*|^.*?//[^/]+", "", route.request.url), (404, {}))
        status, body = found if isinstance(found, tuple) else (200, found)
        await route.fulfill(status=status, body=json.dumps(body), content_type="application/json")

    await page.unroute_all()
    await page.route("**/api/**", told)
    await page.goto(f"{ADDRESS}/")
    for style in STYLES:
        await page.add_style_tag(url=style)
    await page.evaluate(f"async () => {{ {_HEAD}{code} }}")


async def test_the_page_of_a_run_that_never_began_says_why(page: Page) -> None:
    why = "no run came of drift.detected of flights: a run is in progress"
    code = f"""const {{ page }} = await import("/static/pages/run.js");
    page(root, {{ parts: ["{RUN}"] }}, store);"""
    await shows(page, code, {f"/api/runs/{RUN}": (404, {"detail": f"run: {why}"})})
    await page.get_by_text(why, exact=True).wait_for()
    assert await page.locator(".stages, .figures").count() == 0
    href = await page.get_by_text("All events with this id").get_attribute("href")
    assert href == f"#/events?correlation={RUN}"


@pytest.mark.parametrize(
    ("effects", "says", "link"),
    [
        ([], "none came of it so far", None),
        (
            [{**ALARM, "kind": "trigger.declined", "event": {"reason": "the loop is paused"}}],
            "none came of it: the loop is paused",
            None,
        ),
        ([{**ALARM, "kind": "retrain.requested"}], RUN, f"#/run/{RUN}"),
    ],
)
async def test_an_alarm_links_to_a_run_that_came_of_it(
    page: Page, effects: list[Any], says: str, link: str | None
) -> None:
    code = f"""const {{ createPanel }} = await import("/static/pages/event-panel.js");
    const panel = createPanel(store, {{ close() {{}}, hash: (id) => id }});
    root.append(panel.element);
    panel.show("{ALARM["id"]}");"""
    answer = {"fact": ALARM, "cause": None, "effects": effects, "headers": {}, "body": {}}
    await shows(page, code, {f"/api/events/{ALARM['id'].replace(':', '%3A')}": answer})
    found = page.locator("dt:text-is('Run') + dd")
    await found.wait_for()
    assert await found.text_content() == says
    links = found.locator("a")
    assert ([await links.get_attribute("href")] if await links.count() else [None]) == [link]


async def test_the_list_knows_of_an_alarm_only_its_events(page: Page) -> None:
    code = f"""const {{ columns }} = await import("/static/pages/event-columns.js");
    const column = columns().find((its) => its.key === "run");
    window.links = ["drift.detected", "trigger.declined", "run.finished"].map((kind) => {{
      const cell = document.createElement("div");
      column.create(cell);
      column.show(cell, {{ kind, correlation: "{RUN}" }});
      return cell.firstChild.getAttribute("href");
    }});"""
    await shows(page, code, {})
    events = f"#/events?correlation={RUN}"
    assert await page.evaluate("() => window.links") == [events, events, f"#/run/{RUN}"]


async def test_sums_say_how_old_they_are(page: Page) -> None:
    audited = (datetime.now(UTC) - timedelta(seconds=245)).isoformat()
    code = f"""const card = {json.dumps({**CARD, "audited": audited})};
    top.card(card);
    const {{ columns }} = await import("/static/pages/overview-columns.js");
    const column = columns(store).find((its) => its.key === "accounting");
    const cell = document.createElement("p");
    root.append(cell);
    column.create(cell);
    column.show(cell, card);
    const {{ oneModel }} = await import("/static/pages/data-model.js");
    const one = oneModel(store, "flights");
    root.append(one.element);
    const empty = {{ sums: [], quarantined: [], delay: null }};
    one.show({{ model: "flights", audited: "{audited}", ...empty }});"""
    await shows(page, HEADER + code, {})
    figure = page.locator('[data-figure="accounting"]')
    assert await figure.inner_text() == "Accounting\nclosed\nadded up 4\u202fmin ago"
    assert await page.locator("main > p").inner_text() == "closed\n4\u202fmin ago"
    sums = page.locator('[aria-label="Sums of flights"] header')
    assert (await sums.inner_text()).endswith("added up 4\u202fmin ago")


async def test_a_silence_may_always_be_begun_and_is_told_and_ended(page: Page) -> None:
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    silence = {"detector": "loss", "by": "ann", "reason": "swapped labels", "until": until}
    code = f"top.card({json.dumps({**CARD, 'silences': [silence]})});"
    asked: list[Any] = []
    await shows(page, HEADER + code, {})

    async def told(route: Route) -> None:
        asked.append(route.request.post_data_json)
        await route.fulfill(json={"text": "alarms of loss of flights are heard again"})

    await page.route("**/api/models/flights/silence", told)
    assert await page.locator('.actions [data-action="silence"]').is_visible()
    line = page.locator(".model-silence")
    sign, text = line.locator(".icon").first, line.locator("> span").first
    boxes = [await its.bounding_box() for its in (sign, text)]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[1]["x"] - boxes[0]["x"] < 40
    assert re.match(
        r"Alarms of loss are silenced until .*, by ann: swapped labels", await line.inner_text()
    )
    await line.get_by_role("button").click()
    await page.locator("[name=reason]").fill("repaired")
    await page.locator("[name=by]").fill("ann")
    await page.locator("dialog [type=submit]").click()
    await page.get_by_text("are heard again").wait_for()
    assert asked == [{"reason": "repaired", "by": "ann", "detector": "loss", "seconds": 0}]
    await page.evaluate("(card) => window.shown.card(card)", CARD)
    assert await page.locator(".model-silence").count() == 0


async def test_the_newest_revision_is_open_and_each_has_a_sign_that_it_opens(page: Page) -> None:
    def revisions(newest: int) -> dict[str, Any]:
        told = [
            {"revision": n, "time": "", "by": "ann", "reason": "", "diff": [f"+ a = {n}"]}
            for n in range(newest, 0, -1)
        ]
        return {"revisions": told, "lost": 0}

    path = "/api/models/flights/spec"
    answers: dict[str, Any] = {path: {"text": "a = 1", "revision": 1}}
    answers[f"{path}/history"] = revisions(1)
    code = """const { tab } = await import("/static/pages/model-spec.js");
    window.shown = tab({ name: "flights", store });
    root.append(window.shown.element);"""
    await shows(page, code, answers)
    await page.locator("details[open] strong:text-is('Revision 1')").wait_for()
    answers[f"{path}/history"] = revisions(2)
    await page.evaluate("() => window.shown.said([{ kind: 'spec.registered' }])")
    await page.locator("details[open] strong:text-is('Revision 2')").wait_for()
    assert await page.locator("details summary [data-icon=right]").count() == 2
    await page.locator("summary", has_text="Revision 2").click()
    answers[path]["revision"] = 2
    await page.evaluate("() => window.shown.said([{ kind: 'spec.registered' }])")
    await page.get_by_text("revision 2", exact=True).wait_for()
    assert await page.locator("details[open]").count() == 1  # what was closed stays closed


async def test_the_editor_keeps_its_difference_its_fields_and_save_in_sight(page: Page) -> None:
    path = "/api/models/flights/spec"
    lines = [
        part
        for n in range(5)
        for part in (
            *({"sign": " ", "text": f"same_{n}_{at} = 1"} for at in range(3)),
            {"sign": "-", "text": f"changed_{n} = 400000"},
            {"sign": "+", "text": f"changed_{n} = 3000"},
        )
    ]
    text = "".join(f"line_{n} = {n}\n" for n in range(90))
    found = {"ok": True, "revision": 1, "diff": lines, "problems": [], "notes": []}
    answers = {path: {"text": text, "revision": 1}, f"{path}/check": found}
    code = """const { editSpec } = await import("/static/parts/actions-spec.js");
    editSpec("flights", { hello: store.hello });"""
    await page.set_viewport_size({"width": 1440, "height": 900})
    await shows(page, code, answers)
    await page.get_by_text("Revision 1. Change it").wait_for()
    await page.get_by_role("button", name="Check").click()
    await page.get_by_text("changed_4 = 3000").wait_for()
    hidden = """(selectors) => selectors.filter((its) => {
      const [at] = document.querySelector(its).getClientRects();
      const [x, y] = [at.left + at.width / 2, at.bottom - 2];
      return !document.elementFromPoint(x, y)?.closest(its);
    })"""
    wanted = ["[name=reason]", "[name=by]", "[type=submit]", ".diff .line:last-child"]
    assert await page.evaluate(hidden, wanted) == []


async def test_the_time_line_breaks_over_gaps_and_its_lanes_have_room_for_their_names(
    page: Page,
) -> None:
    hour = 3_600_000
    times = [1_360_000_000_000 + n * hour for n in [*range(5), *range(60, 65)]]
    promoted = {
        "time": ALARM["time"],
        "data_time": times[0],
        "kind": "model.promoted",
        "text": "version 1",
        "id": "model.promoted:flights:1",
        "run": RUN,
        "version": 1,
        "since_time": 0,
    }
    answer = {
        "loss_name": "brier",
        "since_time": times[0],
        "until_time": times[-1],
        "live": [[at, 0.2, 9] for at in times],
        "frozen": [],
        "estimated": [[at, 0.2, 0.1, 0.3, at - hour] for at in [*times[:1], *times[5:]]],
        "marks": [promoted],
    }
    code = """const { timeline } = await import("/static/pages/model-timeline.js");
    root.append(timeline({ name: "flights", store, model: null }).element);"""
    await shows(page, code, {"/api/models/flights/timeline": answer})
    line = page.locator(".line[data-tone=estimated]")
    await line.wait_for(state="attached")
    assert (await line.get_attribute("d") or "").count("M") == 2
    shapes = [".band", ".alone", ".dot"]  # the second stretch, and the one estimate of before
    found = [await page.locator(f"{its}[data-tone=estimated]").count() for its in shapes]
    assert found == [1, 1, 1]
    assert await page.locator(".dot[data-tone=live]").count() == 0
    edges = """() => {
      const range = document.createRange();
      range.selectNodeContents(document.querySelector(".lane-name"));
      const box = (its) => its.getBoundingClientRect();
      const [axis, bar] = [".axis", ".lane-bar"].map((its) => box(document.querySelector(its)));
      return [box(document.querySelector(".timeline")).left, box(range).left, box(range).right,
        bar.left, axis.left];
    }"""
    card, begins, ends, bar, axis = await page.evaluate(edges)
    assert card <= begins < ends < bar
    assert abs(bar - axis) <= 1


async def test_kinds_are_written_as_the_log_has_them(page: Page) -> None:
    code = """const { chain } = await import("/static/pages/run-chain.js");
    const link = { depth: 0, id: "a", time: "", kind: "model.rolled_back", text: "" };
    root.append(chain([link]));"""
    await shows(page, code, {})
    assert await page.locator(".chain-kind").inner_text() == "model.rolled_back"


async def test_a_hidden_button_has_no_number(page: Page) -> None:
    await shows(page, f"{HEADER}top.card({json.dumps(CARD)});", {})
    assert await page.locator(".model-more").text_content() == ""


async def test_a_slice_without_a_gate_has_a_dash(page: Page) -> None:
    part = {"name": "night", "loss": 0.2, "rows": 9, "gate_loss": None}
    answer = {"loss_name": "brier", "version": 1, "loss": 0.2, "rows": 9, "slices": [part]}
    code = """const { tab } = await import("/static/pages/model-loop.js");
    root.append(tab({ name: "flights", store, model: null }).element);"""
    await shows(page, code, {"/api/models/flights/slices": answer})
    cells = page.locator("table[aria-label=Slices] tbody td")
    await cells.first.wait_for()
    assert await cells.all_text_contents() == ["night", "0.2000", "+0\u202f%", "\u2013", "9"]


async def test_the_overview_shows_three_lines_of_what_is_wrong(page: Page) -> None:
    text = "Version 2 was rolled back to version 1 at 2026-11-22 12:13 UTC: " + "why " * 40
    card = {**CARD, "task": "", "tone": "bad", "trouble": 9, "trouble_text": text}
    code = f"""root.dataset.page = "overview";
    store.fold("cards", {{ cards: [{json.dumps(card)}], gone: [] }});
    const {{ page }} = await import("/static/pages/overview.js");
    page(root, {{ parts: [], query: new URLSearchParams() }}, store);"""
    await page.set_viewport_size({"width": 1440, "height": 900})
    await shows(page, code, {})
    cell = page.locator('.vrow [data-column="why"]')
    lines = "(its) => its.clientHeight / parseFloat(getComputedStyle(its).lineHeight)"
    assert round(await cell.evaluate(lines)) == 3
    row, inside = await page.locator(".vrow").bounding_box(), await cell.bounding_box()
    assert row is not None
    assert inside is not None
    assert inside["height"] < row["height"]
