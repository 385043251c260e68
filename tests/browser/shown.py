"""What pages show and what the operator API says, both as texts under the same names.

The API's numbers are written by `numbers`, which repeats in Python how pages write them. `agrees`
reads both at the same moment and again until they are the same, for some move all the time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from tests.browser import numbers as say
from tests.browser.browser import Window
from tests.browser.story import Story

Shown = dict[str, Any]
SECONDS: Final = 60.0
TEXTS: Final = """(selector) =>
  [...document.querySelectorAll(selector)].filter((its) => its.checkVisibility())
    .map((its) => its.textContent)"""
ROWS: Final = """(selector) => [...document.querySelectorAll(selector)].map((row) =>
  [...row.cells].map((cell) => cell.textContent))"""
FACTS: Final = """(selector) => [...document.querySelectorAll(`${selector} dt`)].map((name) =>
  [name.textContent, name.nextElementSibling.textContent])"""
GRID: Final = """(selector) => [...document.querySelectorAll(`${selector} .vrow`)]
  .filter((row) => !row.hidden)
  .map((row) => Object.fromEntries([...row.children].map((cell) =>
    [cell.dataset.column, [cell.textContent, cell.title, cell.firstElementChild?.textContent]])))"""


async def agrees(
    read: Callable[[], Awaitable[Shown]], told: Callable[[], Awaitable[Shown]]
) -> Shown:
    """What a page shows, once it is what the API says; raises `AssertionError` with the two."""
    deadline = time.monotonic() + SECONDS
    while True:
        shown, expected = await read(), await told()
        if shown == expected:
            return shown
        if time.monotonic() > deadline:
            assert shown == expected
        await asyncio.sleep(0.25)


async def each_agrees(
    read: Callable[[], Awaitable[Shown]], told: Callable[[], Awaitable[Shown]]
) -> Shown:
    """The same where each value moves by itself: every one of them is the same at some moment."""
    deadline, agreed = time.monotonic() + SECONDS, Shown()
    while True:
        shown, expected = await read(), await told()
        agreed |= {name: its for name, its in shown.items() if expected.get(name) == its}
        if shown.keys() == expected.keys() <= agreed.keys():
            return shown
        if time.monotonic() > deadline:
            assert shown == expected
        await asyncio.sleep(0.1)


async def texts(window: Window, selector: str) -> list[str]:
    """The texts of what can be seen."""
    found: list[str] = await window.script(TEXTS, selector)
    return found


async def rows(window: Window, label: str) -> list[list[str]]:
    """The cells of a table, row by row."""
    found: list[list[str]] = await window.script(ROWS, f'table[aria-label="{label}"] tbody tr')
    return found


async def facts(window: Window, label: str) -> dict[str, str]:
    """The names and values in a part of the page; of equal names the first."""
    pairs = await window.script(FACTS, f'section[aria-label="{label}"] dl.facts')
    return dict(reversed(pairs))


async def overview(window: Window) -> Shown:
    """Every row of the list, by model."""
    found = await window.script(GRID, ".vlist")
    return {
        row["name"][2]: {
            "champion": row["champion"][2],
            "rate": row["rate"][0],
            "p99": row["p99"][0],
            "loss": row["loss"][2],
            "drift": row["drift"][1],
            "accounting": row["accounting"][2],
            "why": row["why"][0],
        }
        for row in found
    }


async def overview_told(story: Story) -> Shown:
    """The same of the cards."""
    return {card["name"]: _card(card) for card in (await story.get("/api/overview"))["cards"]}


def _card(card: Any) -> Shown:
    words = {"closed": "closed", "unknown": "not yet"}
    return {
        "champion": f"v{card['champion']}" if card["champion"] else "none yet",
        "rate": say.rate(card["rate"]),
        "p99": say.millis(card["p99_ms"]),
        "loss": say.loss(card["loss"]),
        "drift": f"{say.percent(card['drift_share'])} of what makes an alarm",
        "accounting": words.get(card["accounting"]) or f"{say.count(card['missing'])} missing",
        "why": card["trouble_text"],
    }


async def loop(window: Window) -> Shown:
    """The head of a model's page, its labels, its slices and its newest runs."""
    figures = await texts(window, ".model-head .figure dd")
    if not figures:
        return {}
    champion, _, rate, labelled, p99, _, loss, loss_name, drift, share, sums, *_ = figures
    return {
        "champion": champion,
        "rate": rate,
        "labelled": labelled,
        "p99": p99,
        "loss": [loss, loss_name],
        "drift": [drift, share],
        "accounting": sums,
        "labels": await facts(window, "Labels and estimate"),
        "slices": [[row[0], row[1], row[4]] for row in await rows(window, "Slices")],
        "runs": [[row[0], row[1], row[2]] for row in await rows(window, "Runs")],
    }


async def loop_told(story: Story, model: str) -> Shown:
    """The same of `/api/models/{model}` and of its slices."""
    its, slices = (
        await story.get(f"/api/models/{model}"),
        await story.get(f"/api/models/{model}/slices"),
    )
    card, labels = its["card"], its["labels"]
    sums = "not added up" if card["accounting"] == "unknown" else card["accounting"]
    return {
        "champion": f"v{card['champion']}",
        "rate": f"{say.rate(card['rate'])} /s",
        "labelled": f"{say.count(labels['joined'])} labelled so far",
        "p99": say.millis(card["p99_ms"]),
        "loss": [say.loss(card["loss"]), say.words(card["loss_name"])],
        "drift": [card["drift"], f"{say.percent(min(1.0, card['drift_share']))} of an alarm"],
        "accounting": sums,
        "labels": {
            "labelled": f"{say.count(labels['joined'])} rows",
            "wait for a label": f"{say.count(labels['waiting_predictions'])} predictions",
            "wait for a row": f"{say.count(labels['waiting_labels'])} labels",
            "newest row": data_time(labels["data_time"]),
        },
        "slices": [
            [
                part["name"],
                "no labels" if part["loss"] is None else say.loss(part["loss"]),
                say.count(part["rows"]),
            ]
            for part in sorted(slices["slices"], key=_worst_first)
        ],
        "runs": [
            [
                f"v{run['version']}",
                say.words(run["trigger"]),
                say.words(run["verdict"] or run["stage"]),
            ]
            for run in its["runs"]
        ],
    }


def _worst_first(part: Any) -> float:
    return -(part["loss"] if part["loss"] is not None else -1.0)


async def timeline(window: Window) -> Shown:
    """The numbers behind the picture of the losses, after the press of its button."""
    found = await window.script(ROWS, '[aria-label="Numbers: Losses over time"] tbody tr')
    return {row[0]: row[-1] for row in found if row[-1]}


async def timeline_told(story: Story, model: str) -> Shown:
    """The live losses of `/api/models/{model}/timeline`, by the data's clock."""
    its = await story.get(f"/api/models/{model}/timeline", points=300)
    return {data_time(at): say.number(loss) for at, loss, _ in its["live"]}


async def features(window: Window) -> Shown:
    """The sentence over the pictures, and what is under each."""
    note = await texts(window, 'section[aria-label="Features"] .section-note')
    return {
        "note": note[0].split(", against ")[0] if note else "",
        "features": dict(
            zip(
                await texts(window, "figure.feature figcaption strong"),
                await texts(window, "figure.feature .feature-note > span"),
                strict=True,
            )
        ),
    }


async def features_told(story: Story, model: str) -> Shown:
    """The same of `/api/models/{model}/features`."""
    its = await story.get(f"/api/models/{model}/features")
    between = f"{data_time(its['from_time'])} to {data_time(its['until_time'])}"
    return {
        "note": f"{say.many(its['now_rows'], 'newest scored row')}, {between}",
        "features": {one["name"]: _distance(one) for one in its["features"] + its["predictions"]},
    }


def _distance(one: Any) -> str:
    was, now = one["missing"]
    gaps = f"missing {say.percent(was)}, now {say.percent(now)}" if was or now else "none missing"
    return f"distance {one['distance']:.2f}, {gaps}"


async def evidence(window: Window) -> Shown:
    """The sentence and the numbers of each shadow."""
    found = await window.script(FACTS, ".evidence dl.facts")
    return {"text": await texts(window, ".evidence-text"), "numbers": dict(found)}


async def evidence_told(story: Story, model: str) -> Shown:
    """The same of the shadows in `/api/models/{model}`."""
    [its] = (await story.get(f"/api/models/{model}"))["shadows"]
    lower, upper, margin = its["lower"], its["upper"], its["margin"]
    way = "The margin lies in it: more rows are needed."
    if lower > margin or upper < margin:
        way = f"All of it lies {'above' if lower > margin else 'below'} the margin."
    champion, version = f"loss of v{its['champion']}", f"loss of v{its['version']}"
    between = f"{say.signed(lower)} and {say.signed(upper)}"
    numbers = {
        "mean difference": say.signed(its["mean"]),
        "interval": f"{say.signed(lower)} to {say.signed(upper)}",
        "margin": say.signed(margin),
        "rule": say.words(its["rule"]),
        "error level": "" if its["level"] is None else say.number(its["level"]),
        "paired rows": say.count(its["rows"]),
        champion: say.loss(its["champion_loss"]),
        version: say.loss(its["shadow_loss"]),
        "rows since": data_time(its["from_time"]) if its["from_time"] else "",
        "challenger": f"number {its['challenger']} of its series" if its["challenger"] else "",
    }
    return {
        "text": [
            f"After {say.many(its['rows'], 'paired row')} the true difference of the losses"
            f" is between {between}. {way}"
        ],
        "numbers": {name: value for name, value in numbers.items() if value},
    }


async def versions(window: Window) -> Shown:
    """The table of versions, and the card of the champion under it."""
    return {
        "table": [[row[1], row[2], row[5], row[6]] for row in await rows(window, "Versions")],
        "gates": [row[:4] for row in await rows(window, "Gates")],
        "metrics": await rows(window, "Metrics"),
        "manifest": (await facts(window, "Training data")).get("manifest"),
        "rows": (await facts(window, "Training data")).get("training"),
    }


async def versions_told(story: Story, model: str, version: int) -> Shown:
    """The same of `/api/models/{model}/versions` and of one of them."""
    all_ = (await story.get(f"/api/models/{model}/versions"))["versions"]
    its = await story.get(f"/api/models/{model}/versions/{version}")
    train, metrics = its["manifest"]["train"], its["short"]["metrics"]
    log = f"{say.count(train['first_seq'])} to {say.count(train['last_seq'])}"
    return {
        "table": [
            [
                f"v{one['version']}",
                say.words(one["stage"]),
                say.count(one["train_rows"]),
                say.number(next(iter(one["metrics"].values()))),
            ]
            for one in all_
        ],
        "gates": [
            [
                gate["name"],
                say.number(gate["value"]),
                say.number(gate["bound"]),
                "passed" if gate["passed"] else "failed",
            ]
            for gate in sorted(its["gates"], key=lambda gate: gate["passed"])
        ],
        "metrics": [[say.words(name), say.number(value)] for name, value in metrics.items()],
        "manifest": its["manifest_sha256"],
        "rows": f"{say.count(train['rows'])} rows, {train['stream']} {log}",
    }


async def difference(window: Window) -> Shown:
    """Two versions side by side."""
    return {
        "metrics": [row[:3] for row in await rows(window, "Metrics")],
        "fields": [row[0] for row in await rows(window, "Fields that differ")],
    }


async def difference_told(story: Story, model: str, a: int, b: int) -> Shown:
    """The same of `/api/models/{model}/versions/{a}/diff/{b}`."""
    its = await story.get(f"/api/models/{model}/versions/{a}/diff/{b}")
    return {
        "metrics": [
            [say.words(one["name"]), say.number(one["a"]), say.number(one["b"])]
            for one in its["metrics"]
        ],
        "fields": [one["field"] for one in its["fields"]],
    }


async def spec(window: Window) -> Shown:
    """The text of the spec and how many revisions there are."""
    return {
        "text": (await texts(window, '[aria-label="Spec as TOML"]'))[:1],
        "revisions": await texts(window, "details.revision strong"),
    }


async def spec_told(story: Story, model: str) -> Shown:
    """The same of `/api/models/{model}/spec` and of its history."""
    history = await story.get(f"/api/models/{model}/spec/history")
    return {
        "text": [(await story.get(f"/api/models/{model}/spec"))["text"].rstrip("\n") + "\n"],
        "revisions": [f"Revision {its['revision']}" for its in history["revisions"]],
    }


async def runs(window: Window) -> Shown:
    """The table of a model's runs."""
    return {"runs": [[row[0], row[1], row[2], row[3]] for row in await rows(window, "Runs")]}


async def runs_told(story: Story, model: str) -> Shown:
    """The same of `/api/runs`."""
    return {
        "runs": [
            [
                f"v{its['version']}",
                say.words(its["trigger"]),
                say.words(its["verdict"] or its["stage"]),
                its["outcome"] or its["reason"],
            ]
            for its in (await story.get("/api/runs", model=model))["runs"]
        ]
    }


async def run(window: Window) -> Shown:
    """A run: its stages with what came of each, its causal chain, its events."""
    return {
        "stages": await texts(window, ".stage strong"),
        "states": await texts(window, ".stage .badge"),
        "took": await texts(window, ".stage .num"),
        "texts": await texts(window, ".stage-text > span"),
        "chain": await texts(window, ".chain-text"),
        "events": await texts(window, '[aria-label="Raw events"] summary .mono'),
    }


async def run_told(story: Story, id: str) -> Shown:
    """The same of `/api/runs/{run}`."""
    its = await story.get(f"/api/runs/{id}")
    states = {"done": "done", "now": "now", "failed": "ended here", "open": "not begun"}
    stages = its["stages"]
    return {
        "stages": [stage["name"] for stage in stages],
        "states": [states.get(stage["state"], "skipped") for stage in stages],
        "took": [_took(stage) for stage in stages],
        "texts": [stage["text"] for stage in stages],
        "chain": [link["text"] for link in its["chain"]],
        "events": [say.count(fact["seq"]) for fact in its["facts"]],
    }


def _took(stage: Any) -> str:
    known = stage["seconds"] is not None and stage["state"] != "open"
    return say.duration(stage["seconds"]) if known else ""


async def events(window: Window, most: int) -> Shown:
    """The newest events of the list."""
    found = await window.script(GRID, ".vlist")
    told = [(row["time"][1], row["kind"][0], row["model"][0], row["text"][0]) for row in found]
    return {"events": sorted(told, key=_seq, reverse=True)[:most]}


def _seq(row: tuple[str, ...]) -> int:
    return int(row[0].split("number ")[1].split()[0])


async def events_told(story: Story, most: int) -> Shown:
    """The same of `/api/events`."""
    return {
        "events": [
            (
                f"{its['time']}, number {its['seq']} of the log",
                its["kind"],
                its["model"],
                its["text"],
            )
            for its in (await story.get("/api/events", limit=most))["events"]
        ]
    }


async def data(window: Window, model: str) -> Shown:
    """Data quality of all models in short, of one in full."""
    return {
        "models": {
            row[0]: [row[3], row[4], *row[5:8]] for row in await rows(window, "Accounting by model")
        },
        "sums": [[row[0], row[1], row[2], row[5]] for row in await rows(window, "Sums")],
        "reasons": [row[:2] for row in await rows(window, "Reasons")],
        "dead": len(await texts(window, ".letters > details")),
        "examples": await texts(window, 'section[aria-label="Examples"] summary .mono'),
    }


async def data_told(story: Story, model: str) -> Shown:
    """The same of `/api/data` and of its parts."""
    its = await story.get("/api/data")
    letters = await story.get("/api/data/dead")
    [one] = [of for of in its["models"] if of["model"] == model]
    rows = await story.get("/api/data/quarantine", model=model, limit=50)
    return {
        "models": {of["model"]: _data(of) for of in its["models"]},
        "sums": [
            [
                sum_["name"],
                say.count(sum_["left"]),
                say.count(sum_["right"]),
                "closes" if sum_["closes"] else "does not close",
            ]
            for sum_ in one["sums"]
        ],
        "reasons": [
            [reason["reason"], say.count(reason["rows"])]
            for reason in sorted(one["quarantined"], key=lambda reason: -reason["rows"])
        ],
        "dead": len(letters["letters"]),
        "examples": [row["event_id"] for row in rows["rows"]],
    }


def _data(of: Any) -> list[str]:
    delay = of["delay"]
    quantiles = [say.duration(delay[key]) if delay else "" for key in ("p50", "p90", "p99")]
    set_aside = sum(reason["rows"] for reason in of["quarantined"])
    return [say.count(set_aside), say.count(of["dead"]), *quantiles]


async def services(window: Window) -> Shown:
    """Each service with its version, process and memory, and each consumer with its lag."""
    found = await window.script(ROWS, 'section[aria-label="Services"] tbody tr')
    lags = await window.script(ROWS, 'section[aria-label="Consumers"] tbody tr')
    return {row[0]: [row[1], row[2], row[4], row[7]] for row in found} | {
        "/".join(row[:3]): [row[3], row[6]] for row in lags
    }


async def services_told(story: Story) -> Shown:
    """The same of `/api/services`."""
    found = await story.get("/api/services")
    return {
        f"{its['name']}{its['url']}, process {its['pid']}": [
            "ready" if its["ready"] else "not ready",
            its["version"],
            say.count(its["restarts"]),
            say.megabytes(its["memory_mb"]),
        ]
        for its in found
    } | {
        f"{its['name']}/{lag['stream']}/{lag['durable']}": [
            say.count(lag["pending"]),
            say.count(lag["redelivered"]),
        ]
        for its in found
        for lag in its["lag"]
    }


def data_time(millis: int) -> str:
    """The clock of the data: 2013-12-05 17:46."""
    return f"{datetime.fromtimestamp(millis / 1000, UTC):%Y-%m-%d %H:%M}"


def event_hash(id: str) -> str:
    """Where an event is shown."""
    return f"#/events/{quote(id, safe='')}"
