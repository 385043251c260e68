"""What the page shows: the board and the models' states, as one document."""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from driftloop.console.domain.board import OUTCOMES, SCORED, Board, Heard
from driftloop.console.domain.evidence import Point
from driftloop.console.domain.rates import STALE_SECONDS
from driftloop.console.domain.stages import Step, picture
from driftloop.contracts.facts import Fact
from driftloop.contracts.state import ModelState, Run, Shadow

RECENT_RUNS = 8


class ServiceView(msgspec.Struct, frozen=True, kw_only=True):
    """A service: `cpu` is the share of one core, `heard` the seconds since its last words."""

    name: str
    ready: bool
    reason: str
    memory_mb: float = 0.0
    cpu: float = 0.0
    cpu_seconds: float = 0.0
    heard: float | None = None
    started: float = 0.0
    url: str = ""


class EvidenceView(msgspec.Struct, frozen=True, kw_only=True):
    """A shadow against the champion: interval of the loss difference `champion - shadow`."""

    version: int
    champion: int
    role: str
    rows: int = 0
    mean: float | None = None
    lower: float | None = None
    upper: float | None = None
    margin: float = 0.0
    champion_loss: float | None = None
    shadow_loss: float | None = None
    points: list[Point] = []


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the loop: why it began, where it stands, how it ended."""

    id: str
    trigger: str
    reason: str
    version: int
    started: float
    steps: tuple[Step, ...]
    verdict: str = ""
    outcome: str = ""
    finished: float = 0.0


class ModelView(msgspec.Struct, frozen=True, kw_only=True):
    """A model: `scored` and `outcomes` are rows a second, `joined` all labelled rows."""

    name: str
    champion: int
    since: str
    metrics: dict[str, float]
    train_rows: int
    scored: float
    outcomes: float
    joined: int
    waiting: int
    versions: list[int]
    run: RunView | None
    steps: tuple[Step, ...]
    evidence: list[EvidenceView]
    runs: list[RunView]
    runs_started: int


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The whole page but the event feed."""

    time: float
    problem: str
    dropped: int
    last_event: int
    services: list[ServiceView]
    models: list[ModelView]


def view(
    board: Board,
    states: Mapping[str, ModelState],
    expected: Iterable[str],
    now: float,
    problem: str = "",
) -> View:
    """The page at `now` (seconds since 1970); `expected` services are shown heard of or not."""
    names = [*expected, *(name for name in board.services if name not in set(expected))]
    return View(
        time=now,
        problem=problem,
        dropped=board.dropped,
        last_event=board.events[-1].seq if board.events else 0,
        services=[service(name, board.services.get(name), now) for name in names],
        models=[
            model(board, states.get(name) or ModelState(model=name), now)
            for name in sorted(board.models)
        ],
    )


def part(whole: View, models: Collection[str] | None) -> View:
    """The page for somebody who may know of these models alone (None: of all).

    What services say of themselves may name other models, and is left out.
    """
    if models is None:
        return whole
    services = [msgspec.structs.replace(its, reason="") for its in whole.services]
    shown = [model for model in whole.models if model.name in models]
    return msgspec.structs.replace(whole, services=services, models=shown, dropped=0, last_event=0)


def service(name: str, heard: Heard | None, now: float) -> ServiceView:
    """A service as its last words have it, not ready when they are old."""
    if heard is None:
        return ServiceView(name=name, ready=False, reason="not heard of yet")
    age = max(0.0, now - heard.at)
    silent = f"silent for {age:.0f} s" if age > STALE_SECONDS else ""
    return ServiceView(
        name=name,
        ready=heard.stats.ready and not silent,
        reason=silent or heard.stats.reason,
        memory_mb=heard.stats.rss_bytes / 1e6,
        cpu=heard.cpu.per_second(now),
        cpu_seconds=heard.stats.cpu_seconds,
        heard=age,
        started=heard.stats.started,
        url=heard.stats.url,
    )


def model(board: Board, state: ModelState, now: float) -> ModelView:
    """The card of a model."""
    name = state.model
    champion = state.versions.get(state.champion)
    past = sorted(state.history, key=lambda run: run.started, reverse=True)
    join = board.joins.get(name)
    return ModelView(
        name=name,
        champion=state.champion,
        since=_since(board.crowned.get(name), state),
        metrics=champion.manifest.metrics if champion else {},
        train_rows=champion.manifest.train.rows if champion else 0,
        scored=board.rate(SCORED, name, now),
        outcomes=board.rate(OUTCOMES, name, now),
        joined=join.outcomes_total if join else 0,
        waiting=join.waiting_predictions if join else 0,
        versions=sorted(state.versions),
        run=run_view(state.run) if state.run else None,
        steps=picture(state.run),
        evidence=[evidence(board, name, shadow) for shadow in state.shadows],
        runs=[run_view(run) for run in past[:RECENT_RUNS]],
        runs_started=state.runs_started,
    )


def _since(crowned: Fact | None, state: ModelState) -> str:
    same = crowned is not None and getattr(crowned.event, "version", 0) == state.champion
    return crowned.time if crowned is not None and same else ""


def run_view(run: Run) -> RunView:
    """A run as the page shows it."""
    return RunView(
        id=run.id,
        trigger=run.trigger,
        reason=run.reason,
        version=run.version,
        started=run.started,
        steps=picture(run),
        verdict=run.verdict or "",
        outcome=run.outcome,
        finished=run.finished,
    )


def evidence(board: Board, name: str, shadow: Shadow) -> EvidenceView:
    """The evidence on a shadow so far; without numbers before the first labelled rows."""
    known = EvidenceView(version=shadow.version, champion=shadow.champion, role=shadow.role)
    line = board.line((name, shadow.run, shadow.role, shadow.version))
    if line is None or line.last is None:
        return known
    last = line.last
    return msgspec.structs.replace(
        known,
        rows=last.rows,
        mean=last.mean,
        lower=last.lower,
        upper=last.upper,
        margin=last.margin,
        champion_loss=last.champion_loss,
        shadow_loss=last.shadow_loss,
        points=line.points,
    )
