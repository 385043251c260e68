"""The console in a real browser, while real flights go round the loop; in the order of this file.

One system for all of it: the flights of December 2013, when it began to snow. Each wait has a
deadline. What appears by itself is timed from its event's own time to the moment the document shows
it; of each kind the median over events and pages has to be `soon`.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import pyarrow as pa
import pytest
import pytest_asyncio
from playwright.async_api import expect

from driftloop.bus.messages import batch_message
from driftloop.contracts import codec, subjects
from driftloop.contracts.batches import encode
from driftloop.contracts.stats import Evidence
from driftloop.local.up import register
from tests.browser import shown
from tests.browser.browser import WITHOUT, Theme, Window, Windows, windows
from tests.browser.seen import all_seen, median, seen, since, soon, watch
from tests.browser.story import FIRST_ROWS, Story, december, flights, story
from tests.support.flows import held

pytestmark = [
    pytest.mark.browser,
    WITHOUT,
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),  # the first test starts the system, on a machine that may be busy
]

FLIGHTS, NEWARK, LATER = "flights", "newark", "kennedy"
ALARMS = ("drift.detected", "performance.degraded", "labels.shifted")
LIVE = {
    "overview": ("ann", "#/"),
    "model": ("ann", f"#/model/{FLIGHTS}"),
    "evidence": ("bob", f"#/model/{FLIGHTS}/evidence"),
    "events": ("bob", "#/events"),
}


PAGES = {
    "#/": ".vrow",
    f"#/model/{FLIGHTS}": ".timeline .plot",
    f"#/model/{FLIGHTS}/features": "figure.feature",
    f"#/model/{FLIGHTS}/evidence": ".interval, table",
    f"#/model/{FLIGHTS}/versions": ".model-card",
    f"#/model/{FLIGHTS}/versions/1/2": 'table[aria-label="Fields that differ"]',
    f"#/model/{FLIGHTS}/spec": "details.revision",
    f"#/model/{FLIGHTS}/runs": 'table[aria-label="Runs"]',
    "#/run/{run}": ".chain",
    "#/events/{event}": ".panel .said",
    f"#/data?model={FLIGHTS}": 'table[aria-label="Sums"]',
    "#/services": 'section[aria-label="Services"] tbody tr',
}
"""Every page, and what is there when it is."""
POST = """async (path) => {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(path, { method: "POST", headers, body: '{"reason": "to try"}' });
  return [answer.status, await answer.json()];
}"""
ORDERS = (
    *("retrain", "challenge", "promote", "approve", "deny", "rollback"),
    *("pause", "resume", "silence", "spec", "spec/check"),
)
Read = Callable[[], Awaitable[shown.Shown]]


class Scene(NamedTuple):
    """The system, a browser, and four pages that stay open."""

    story: Story
    windows: Windows
    live: dict[str, Window]

    async def facts(self, kind: str) -> list[dict[str, Any]]:
        """The events of one kind, oldest first."""
        found = await self.story.get("/api/events", model=FLIGHTS, kind=kind, limit=100)
        return list(reversed(found["events"]))

    async def asked(self, command: str) -> dict[str, Any]:
        """The newest order of this kind, as the audit trail has it."""
        found = await self.story.get("/api/events", kind="operator.requested", limit=100)
        orders = [its["event"] for its in found["events"] if its["event"]["command"] == command]
        return dict(orders[0])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """Nothing has been sent yet. Ann and Bob may operate, Rita may read, Nobody has no token."""
    models = {
        FLIGHTS: (flights(FLIGHTS), december()),
        NEWARK: (flights(NEWARK, approval="required"), december(airport="EWR")),
    }
    folder = tmp_path_factory.mktemp("console")
    async with story(folder, models) as told, windows(told.url) as opened:
        await opened.person("ann", await told.token("ann", "read", "operate"))
        await opened.person("bob", await told.token("bob", "read", "operate"))
        await opened.person("rita", await told.token("rita", "read"))
        await opened.person("nobody")
        live = {name: await opened.open(*where) for name, where in LIVE.items()}
        for window in live.values():
            await window.sees(".link", "live")
            await window.script("() => { window.__same = true }")
        yield Scene(told, opened, live)


async def test_without_a_token_the_page_leads_to_where_one_is_given(scene: Scene) -> None:
    async with scene.windows.page("nobody") as window:
        await window.sees("h1", "A token, please")
        secret = scene.story.api.headers["authorization"].removeprefix("Bearer ")
        window.expected.append("401")
        await window.at("input[name=token]").fill("dlt_wrong")
        await window.press("button", "Go on")
        await window.sees(".bad", "This token is not known")
        await window.at("input[name=token]").fill(secret)
        await window.press("button", "Go on")
        await window.sees(".user", "tests")


async def test_the_first_champion_appears_without_a_reload(scene: Scene) -> None:
    overview = scene.live["overview"]
    await overview.sees(".vrow", FLIGHTS)
    await overview.sees("h1", "2 of 2 models need attention")
    await watch(overview, "champion", '.vrow .cell[data-column="champion"] .over')
    await watch(scene.live["model"], "champion", '.figure[data-figure="champion"] dd')
    await scene.story.played[FLIGHTS].play_until("run.finished", 1, FIRST_ROWS)

    await overview.sees('.vrow .cell[data-column="champion"]', "v1")
    await scene.live["model"].sees('.figure[data-figure="champion"]', "v1")


async def test_a_drift_alarm_appears_within_two_seconds(scene: Scene) -> None:
    events, model, overview = (scene.live[name] for name in ("events", "model", "overview"))
    await watch(events, "said", '.vrow .cell[data-column="time"]', "title")
    await watch(model, "marks", '#page a[href^="#/events/"]', "href")
    await watch(overview, "drift", '.vrow .cell[data-column="drift"] .badge')
    await scene.story.played[FLIGHTS].play_until("performance.degraded", 1, 12_000)

    await model.sees(".model-alarms li")
    await overview.sees('.vrow .cell[data-column="drift"]', "alarm")
    alarms = [its for kind in ALARMS for its in await scene.facts(kind)]
    first = min(its["time"] for its in alarms)
    delays = await _said(events, alarms)
    delays += await _marked(model, alarms)
    drift = await seen(overview, "drift")
    delays += [since(first, min(at for text, at in drift.items() if "alarm" in text))]
    assert len(delays) >= 2 * len(alarms)
    assert median("alarm", delays) < soon(), delays


async def test_an_alarm_is_silenced(scene: Scene) -> None:
    model = scene.live["model"]
    said = await _order(model, "silence", within=".actions", seconds="3600")
    assert said.startswith(f"alarms of {FLIGHTS} are silenced until "), said
    await model.sees(".model-alarms li", "silenced until")
    assert (await scene.asked("silence"))["by"] == "token ann"
    await model.sees(".model-silence", "by token ann: to test silence")
    said = await _order(model, "unsilence")
    assert said == f"alarms of {FLIGHTS} are heard again"
    await expect(model.at(".model-silence")).to_have_count(0)


async def test_the_evidence_of_a_shadow_appears_within_two_seconds(scene: Scene) -> None:
    played, evidence = scene.story.played[FLIGHTS], scene.live["evidence"]
    await watch(evidence, "shadow", ".evidence h2")
    challenger = '.evidence[aria-label="Version 2 beside version 1"]'
    await watch(evidence, "rows", f"{challenger} .evidence-text")
    await played.play_until("shadow.started", 1, 13_500)
    await evidence.sees(".evidence h2", "v2 (challenger) beside v1")
    some = played.player.progress.rows + 1_000
    await played.player.play(some, lambda: played.times("model.promoted") > 1)

    await evidence.sees(f"{challenger} .evidence-text", "the true difference of the losses")
    started = await scene.facts("shadow.started")
    there = await seen(evidence, "shadow")
    delays = [since(started[0]["time"], there["v2 (challenger) beside v1"])]
    told = await _evidence(scene)
    for text, at in (await seen(evidence, "rows")).items():
        if text.startswith("After "):
            delays.append(since(told[int(text.split()[1].replace(",", ""))], at))
    assert len(delays) > 1
    assert median("evidence", delays) < soon(), delays


async def test_a_promotion_appears_within_two_seconds(scene: Scene) -> None:
    await scene.story.played[FLIGHTS].play_until("model.promoted", 2, 16_000)

    overview, model, events = (scene.live[name] for name in ("overview", "model", "events"))
    await overview.sees('.vrow .cell[data-column="champion"]', "v2")
    await model.sees('.figure[data-figure="champion"]', "v2")
    promoted = await scene.facts("model.promoted")
    delays = await _said(events, promoted)
    for version, its in enumerate(promoted, 1):
        for window in (overview, model):
            delays.append(since(its["time"], (await seen(window, "champion"))[f"v{version}"]))
    assert len(delays) == 3 * len(promoted)
    assert median("promotion", delays) < soon(), delays


async def test_no_page_was_loaded_anew(scene: Scene) -> None:
    for window in scene.live.values():
        assert await window.script("() => window.__same")


async def test_nothing_moves_any_more(scene: Scene) -> None:
    """What the pages are compared with the API by: all is sent, joined, written and added up."""
    flown, newark = (scene.story.played[name] for name in (FLIGHTS, NEWARK))
    await newark.play_until("approval.requested", 1, 5_000)
    await flown.player.play(flown.player.progress.rows + 400)
    for played in (flown, newark):
        await played.player.settle()
    await scene.story.predict(FLIGHTS, 20)
    await scene.story.told()


async def test_each_page_shows_the_numbers_of_the_api(scene: Scene) -> None:
    async with scene.windows.page("ann") as window:
        await _same_as_the_api(scene.story, window)


async def _same_as_the_api(told: Story, window: Window) -> None:
    run = (await told.get("/api/runs", model=FLIGHTS))["runs"][-1]["id"]
    model = f"#/model/{FLIGHTS}"

    async def same(hash: str, read: Read, expected: Read) -> None:
        await window.go(hash)
        assert await shown.agrees(read, expected)

    await same("#/", lambda: shown.overview(window), lambda: shown.overview_told(told))
    await same(model, lambda: shown.loop(window), lambda: shown.loop_told(told, FLIGHTS))
    await window.press(".timeline .plot-table-button")
    await same(model, lambda: shown.timeline(window), lambda: shown.timeline_told(told, FLIGHTS))
    await same(
        f"{model}/features",
        lambda: shown.features(window),
        lambda: shown.features_told(told, FLIGHTS),
    )
    await same(
        f"{model}/evidence",
        lambda: shown.evidence(window),
        lambda: shown.evidence_told(told, FLIGHTS),
    )
    await same(
        f"{model}/versions/1",
        lambda: shown.versions(window),
        lambda: shown.versions_told(told, FLIGHTS, 1),
    )
    await same(
        f"{model}/versions/1/2",
        lambda: shown.difference(window),
        lambda: shown.difference_told(told, FLIGHTS, 1, 2),
    )
    await same(f"{model}/spec", lambda: shown.spec(window), lambda: shown.spec_told(told, FLIGHTS))
    await same(f"{model}/runs", lambda: shown.runs(window), lambda: shown.runs_told(told, FLIGHTS))
    await same(f"#/run/{run}", lambda: shown.run(window), lambda: shown.run_told(told, run))
    await same("#/events", lambda: shown.events(window, 10), lambda: shown.events_told(told, 10))
    await same(
        f"#/data?model={FLIGHTS}",
        lambda: shown.data(window, FLIGHTS),
        lambda: shown.data_told(told, FLIGHTS),
    )
    await window.go("#/services")
    await shown.each_agrees(lambda: shown.services(window), lambda: shown.services_told(told))


async def test_an_event_is_linked_to_its_cause_and_its_effects(scene: Scene) -> None:
    async with scene.windows.page(
        "ann", f"#/events?model={FLIGHTS}&kind=retrain.requested"
    ) as window:
        asked = (await scene.facts("retrain.requested"))[-1]
        detail = await scene.story.get(f"/api/events/{asked['id']}")
        await window.press('.vrow .cell[data-column="text"]', asked["text"])
        await window.sees(".panel .said", asked["text"])
        assert (await window.script(shown.FACTS, ".panel .facts"))[-2] == ["Id", asked["id"]]
        effects = await window.script(
            "() => [...document.querySelectorAll('.neighbours a')].map((its) => its.hash)"
        )
        known = [detail["cause"], *detail["effects"]]
        assert [link.split("?")[0] for link in effects] == [
            shown.event_hash(its["id"]) for its in known
        ]
        await window.press(".neighbours a", "performance.degraded")
        await window.sees(".panel .said", detail["cause"]["text"])
        await window.page.go_back()
        await window.sees(".panel .said", asked["text"])


async def test_a_loop_is_paused_and_resumed(scene: Scene) -> None:
    model = scene.live["model"]
    assert (await _order(model, "pause")).startswith(f"the loop of {FLIGHTS} is paused")
    await model.sees(".model-head .badge", "loop paused by token ann")
    assert (await _order(model, "resume")).startswith(f"the loop of {FLIGHTS} ")
    await model.sees('.actions button[data-action="pause"]')
    asked = await scene.asked("resume")
    assert (asked["by"], asked["reason"]) == ("token ann", "to test resume")


async def test_a_champion_is_rolled_back_and_promoted_again(scene: Scene) -> None:
    model = scene.live["model"]
    champion = '.figure[data-figure="champion"]'
    assert "version 1" in await _order(model, "rollback")
    await model.sees(champion, "v1")
    assert "version 2" in await _order(model, "promote", version="2")
    await model.sees(champion, "v2")
    assert (await scene.asked("promote"))["version"] == 2
    for kind, by in (("model.rolled_back", "token ann"), ("model.promoted", "token ann")):
        assert by in (await scene.facts(kind))[-1]["text"]


async def test_what_waits_is_denied_and_approved_by_another_person(scene: Scene) -> None:
    newark = f"#/model/{NEWARK}"
    async with scene.windows.page("ann", newark) as ann, scene.windows.page("bob", newark) as bob:
        await ann.sees(".model-trouble", "Version 1 waits for the approval of a second person")
        assert await _order(ann, "deny") == "version 1 is not promoted"
        assert "run-" in await _order(ann, "retrain")
        await ann.press('button[data-action="approve"]')
        await ann.at("dialog.action textarea").fill("it is mine")
        await ann.press("dialog.action button[type=submit]")
        ann.expected.append("422")
        await ann.sees(
            "dialog.action .action-said", "asked for version 2; accepted: another person"
        )
        await ann.press("dialog.action button", "Cancel")
        assert await _order(bob, "approve") == f"version 2 is the champion of {NEWARK}"
        await ann.sees('.figure[data-figure="champion"]', "v2")


async def test_a_spec_is_checked_compared_and_saved(scene: Scene) -> None:
    async with scene.windows.page("ann", f"#/model/{FLIGHTS}/spec") as window:
        await window.press('.tab-place button[data-action="spec"]')
        text = window.at("dialog.action textarea[name=text]")
        await expect(text).to_have_value(re.compile("max = 4500.0"))
        old = await text.input_value()
        await text.fill(old.replace("max = 4500.0", "max = -6000.0"))
        await window.press("dialog.action button", "Check")
        await window.sees("dialog.action .bad", "a min below the max")
        await text.fill(old.replace("max = 4500.0", "max = 6000.0"))
        await window.press("dialog.action button", "Check")
        await window.sees('dialog.action .line[data-sign="+"]', "max = 6000.0")
        assert await window.faults() == []
        await window.at("dialog.action textarea[name=reason]").fill("Honolulu is 4,983 miles away")
        await window.press("dialog.action button[type=submit]")
        await window.sees("dialog.action .action-said", "revision 2")
        await window.press("dialog.action button", "Close")
        await window.sees("details.revision strong", "Revision 2")
        await expect(window.at("details.revision .line", "+max = 6000.0")).to_have_count(1)


async def test_rows_in_quarantine_are_sent_again(scene: Scene) -> None:
    async with scene.windows.page("ann", f"#/data?model={FLIGHTS}") as window:
        [reason] = (await scene.story.get("/api/data", model=FLIGHTS))["models"][0]["quarantined"]
        await window.sees('table[aria-label="Reasons"]', reason["reason"])
        said = await _order(window, "requeue")
        rows = reason["rows"]
        assert said.startswith(f"{rows} rows sent again: {rows} valid now, 0 not."), said
        assert (await scene.asked("requeue"))["by"] == "token ann"


async def test_dead_letters_are_given_back_and_dropped(scene: Scene) -> None:
    rows = scene.story.played[NEWARK].player.first(3)
    async with scene.windows.page("ann", "#/data") as window:
        await window.sees(".empty-title", "No dead letter")
        await _received(scene.story, FLIGHTS, b"spoilt")
        await _received(scene.story, LATER, encode(rows))
        letters = window.at("details.fold:has(button[data-action=dead-drop])")
        await expect(letters).to_have_count(2)
        spoilt, early = letters.filter(has_text="Arrow IPC"), letters.filter(has_text="'kennedy'")
        await spoilt.locator("summary").click()
        await window.sees(".letter pre", "spoilt")
        window.expected.append("400")
        await window.press('details[open] button[data-action="dead-replay"]')
        await window.at("dialog.action textarea").fill("it may work now")
        await window.press("dialog.action button[type=submit]")
        await window.sees(".action-said", "not an Arrow IPC stream")
        await window.press("dialog.action button", "Cancel")
        said = await _order(window, "dead-drop", within="details[open]")
        assert said.endswith("is given up"), said
        await expect(letters).to_have_count(1)
        await register(scene.story.bus, [flights(LATER)], by="test")
        await early.locator("summary").click()
        said = await _order(window, "dead-replay", within="details[open]")
        assert "validation" in said, said
        await window.sees(".empty-title", "No dead letter")
    for kind in ("letter.dropped", "letter.replayed"):
        found = await scene.story.get("/api/events", kind=kind)
        assert "token ann" in found["events"][0]["text"]


async def test_who_may_only_read_sees_no_button_of_an_action(scene: Scene) -> None:
    async with scene.windows.page("rita") as window:
        await window.sees(".user", "rita")
        for hash, there in (await _pages(scene)).items():
            await window.go(hash)
            await window.sees(there)
            await expect(window.at("button[data-action]:visible")).to_have_count(0)


async def test_who_may_only_read_is_refused(scene: Scene) -> None:
    async with scene.windows.page("rita") as window:
        window.expected.append("403")
        orders = (
            "retrain challenge promote approve deny rollback pause resume silence spec spec/check"
        )
        paths = [f"/api/models/{FLIGHTS}/{order}" for order in orders.split()]
        data = ["dead/1/replay", "dead/1/drop", "quarantine/replay"]
        for path in [*paths, *(f"/api/data/{its}" for its in data)]:
            status, problem = await window.script(POST, path)
            assert (status, "accepted: operate" in problem["detail"]) == (403, True), path


@pytest.mark.parametrize(
    ("theme", "rules"),
    [("light", ()), ("dark", ("color-contrast",))],  # the other rules see no colours
    ids=["light", "dark"],
)
async def test_no_page_has_a_grave_fault_of_accessibility(
    scene: Scene, theme: Theme, rules: tuple[str, ...]
) -> None:
    async with scene.windows.page("ann") as window:
        await window.page.emulate_media(color_scheme=theme)
        found = {}
        for hash, there in (await _pages(scene)).items():
            await window.go(hash)
            await window.sees(there)
            await expect(window.at("#page .loading")).to_have_count(0)
            found[hash] = await window.faults(*rules)
        await window.page.goto(f"{scene.story.url}/login")
        found["login"] = await window.faults(*rules)
        assert {hash: faults for hash, faults in found.items() if faults} == {}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("console", "No connection to the console since"),
        ("nats", "not connected to NATS"),
        ("telemetry", "telemetry"),
    ],
)
async def test_a_page_says_what_is_gone_and_recovers(scene: Scene, name: str, says: str) -> None:
    windows_ = [scene.live[page] for page in ("overview", "model", "events")]
    for window in scene.live.values():
        window.expected += ["ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED", "503", "ERR_"]
    async with scene.story.away(name):
        for window in windows_:
            await window.sees("#banner", says)
    await scene.story.system.ready()
    for window in windows_:
        await expect(window.at("#banner")).to_be_hidden()
        await window.sees(".link", "live")
        assert await window.script("() => window.__same")
    await shown.agrees(
        lambda: shown.overview(scene.live["overview"]), lambda: shown.overview_told(scene.story)
    )


async def test_no_page_has_complained(scene: Scene) -> None:
    assert len(scene.windows.opened) > len(LIVE)
    assert {w.page.url: w.complaints for w in scene.windows.opened if w.complaints} == {}


async def _pages(scene: Scene) -> dict[str, str]:
    """`PAGES` with the newest run and its promotion."""
    run = (await scene.story.get("/api/runs", model=FLIGHTS))["runs"][0]["id"]
    event = (await scene.facts("model.promoted"))[-1]["id"]
    return {
        hash.format(run=run, event=quote(event, safe="")): there for hash, there in PAGES.items()
    }


async def _received(told: Story, model: str, payload: bytes) -> None:
    """Put something where received rows are, whatever it is and whether there is such a model."""
    made = batch_message(
        subjects.rows(model, "received"),
        pa.RecordBatch.from_pydict({"event_id": ["x"]}),
        kind="rows.received",
        source="test",
        msg_id=f"rows.received:{model}:by-hand",
    )
    await told.admin.publish([msgspec.structs.replace(made, payload=payload)])


async def _said(events: Window, facts: list[dict[str, Any]]) -> list[float]:
    """How long after each event its row was in the list of events."""
    titles = [f"{its['time']}, number {its['seq']} of the log" for its in facts]
    there = await all_seen(events, "said", titles)
    return [since(its["time"], there[title]) for its, title in zip(facts, titles, strict=True)]


async def _marked(model: Window, facts: list[dict[str, Any]]) -> list[float]:
    """How long after each event a link to it was on the model's page."""
    links = [shown.event_hash(its["id"]) for its in facts]
    there = await all_seen(model, "marks", links)
    return [since(its["time"], there[link]) for its, link in zip(facts, links, strict=True)]


async def _evidence(scene: Scene) -> dict[int, str]:
    """When the evidence of the challenger after so many rows was said."""
    found = await held(scene.story.bus, "STATS", subjects.stats(Evidence.kind, FLIGHTS))
    told = [(codec.decode_stat(its.payload), its.headers["ce-time"]) for its in found]
    return {
        its.rows: time
        for its, time in told
        if isinstance(its, Evidence) and its.role == "challenger"
    }


async def _order(window: Window, action: str, within: str = "", **fields: str) -> str:
    """Give an order through its dialog; what the dialog says in the end."""
    await window.press(f'{within} button[data-action="{action}"]')
    dialog = window.page.locator("dialog.action")
    for name, value in fields.items():
        await dialog.locator(f"[name={name}]").select_option(value)
    await dialog.locator("textarea[name=reason]").fill(f"to test {action}")
    await dialog.locator("button[type=submit]").click()
    said = dialog.locator(".action-said[role=status]")
    await expect(said).to_be_visible()
    text = await said.inner_text()
    await dialog.locator("button", has_text="Close").click()
    await expect(dialog).to_have_count(0)
    return text
