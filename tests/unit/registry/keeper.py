"""A registry without a bus: one model's state, decision after decision."""

from typing import Any

import msgspec

from driftloop.contracts import events as e
from driftloop.contracts.headers import Origin
from driftloop.contracts.requests import Command, Done
from driftloop.contracts.state import ModelState, Pending, Run, Shadow
from driftloop.modelspec.spec import Registered
from driftloop.registry.domain import commands, stages, triggers
from driftloop.registry.domain.decision import Context, Decision
from tests.support.loop import spec
from tests.support.synthetic import gates, manifest

DAY = 86_400_000
MODEL = "tide"


class Keeper:
    """Hears events as the handlers do, and says what the outbox would."""

    def __init__(self) -> None:
        self.state = ModelState(model=MODEL)
        self.spec = spec()
        self.now = 1_000.0
        self.scored_seq = 4_000
        self.outcomes_seq = 3_000
        self.pending: tuple[Pending, ...] = ()
        self._requests = 0

    @property
    def run(self) -> Run:
        assert self.state.run is not None
        return self.state.run

    def respecify(self, **changes: Any) -> None:
        self.spec = spec(**changes)

    def hear(self, event: e.AnyEvent) -> list[e.AnyEvent]:
        """Decide on an event, once."""
        if event.event_id() in self.state.seen:
            return []
        decision = self._decision()
        if isinstance(event, e.Alarm | e.DataAccumulated):
            triggers.on_trigger(decision, triggers.fired(event))
        else:
            stages.on_run_event(decision, event)
        return self._take(decision, event.event_id())

    def clock(self, data_time: int) -> list[e.AnyEvent]:
        decision = self._decision()
        triggers.on_clock(decision, data_time)
        return self._take(decision)

    def deadline(self) -> list[e.AnyEvent]:
        decision = self._decision()
        stages.on_deadline(decision)
        return self._take(decision)

    def schedule(self) -> list[e.AnyEvent]:
        decision = self._decision()
        triggers.on_schedule(decision)
        return self._take(decision)

    def command(
        self,
        command: str,
        version: int = 0,
        reason: str = "",
        by: str = "ann",
        **more: Any,
    ) -> tuple[Done, list[e.AnyEvent]]:
        self._requests += 1
        asked = Command(
            command=command,  # type: ignore[arg-type]  # one of its literals, as a text
            by=by,
            version=version,
            reason=reason,
            request=f"r{self._requests}",
            **more,
        )
        decision = self._decision()
        done = commands.on_command(decision, asked)
        return done, self._take(decision)

    def _decision(self) -> Decision:
        registered = Registered(spec=self.spec, revision=7, by="ann", at=0.0)
        context = Context(registered, self.now, self.scored_seq, self.outcomes_seq)
        return Decision(self.state, context, Origin())

    def _take(self, decision: Decision, seen: str = "") -> list[e.AnyEvent]:
        after = decision.result(seen)
        self.pending = after.outbox
        self.state = msgspec.structs.replace(after, outbox=())
        return [p.event for p in self.pending]

    @staticmethod
    def without_seen(state: ModelState) -> ModelState:
        return msgspec.structs.replace(state, seen=())

    # what the other services say about the run in progress

    def finish_first_run(self) -> None:
        self.hear(self.trained())
        self.hear(self.approved())

    def challenge(self) -> None:
        """A run up to the start of its shadow."""
        self.hear(self.drift(self.state.last_run_data_time + DAY, 5_000 + self.state.next_version))
        self.hear(self.trained())
        self.hear(self.approved())

    def accumulated(self, rows: int, time: int = 0) -> e.DataAccumulated:
        return e.DataAccumulated(model=MODEL, data_time=time, rows=rows, outcomes_seq=1)

    def drift(self, time: int = 0, seq: int = 5_000) -> e.DriftDetected:
        return e.DriftDetected(
            model=MODEL,
            stream="SCORED",
            seq=seq,
            shift="covariate",
            feature="a",
            **_alarm("a", time),
        )

    def degraded(self, time: int = 0, seq: int = 5_000) -> e.PerformanceDegraded:
        version = self.state.champion
        return e.PerformanceDegraded(
            model=MODEL,
            stream="OUTCOMES",
            seq=seq,
            loss="brier",
            version=version,
            **_alarm("loss", time),
        )

    def trigger(self, name: str, time: int) -> e.AnyEvent:
        if name == "new_data":
            return self.accumulated(500, time)
        return self.drift(time) if name == "drift" else self.degraded(time)

    def started(self) -> e.TrainingStarted:
        made = manifest(MODEL, self.run.version)
        return e.TrainingStarted(
            model=MODEL,
            run=self.run.id,
            version=self.run.version,
            train=made.train,
            holdout=made.holdout,
            window=made.window,
        )

    def failed(self) -> e.TrainingFailed:
        return e.TrainingFailed(
            model=MODEL, run=self.run.id, version=self.run.version, reason="training: no rows"
        )

    def trained(self) -> e.CandidateTrained:
        version = self.run.version
        return e.CandidateTrained(
            model=MODEL,
            run=self.run.id,
            version=version,
            manifest=manifest(MODEL, version),
            manifest_sha256="aa" * 32,
        )

    def approved(self) -> e.CandidateApproved:
        return e.CandidateApproved(
            model=MODEL, run=self.run.id, version=self.run.version, gates=gates(), seconds=1.0
        )

    def rejected(self) -> e.CandidateRejected:
        return e.CandidateRejected(
            model=MODEL,
            run=self.run.id,
            version=self.run.version,
            gates=gates(),
            reason="offline gate: too slow",
            seconds=1.0,
        )

    def challenger(self, version: int) -> Shadow:
        """The shadow that a version is."""
        return next(s for s in self.state.shadows if s.version == version)

    def beside(self, version: int, verdict: e.LiveVerdict) -> e.ShadowConcluded:
        """What the live gate says of a challenger that an operator put there."""
        shadow = self.challenger(version)
        return e.ShadowConcluded(
            model=MODEL,
            data_time=5 * DAY,
            run=shadow.run,
            version=version,
            champion=shadow.champion,
            role="challenger",
            verdict=verdict,
            lower=0.0,
            upper=0.2,
            mean=0.1,
            rows=100,
            reason=f"{verdict} on 100 rows",
        )

    def concluded(
        self, role: e.Role, verdict: e.LiveVerdict, mean: float = 0.1
    ) -> e.ShadowConcluded:
        run, champion = self.run, self.state.champion
        version = run.version if role == "challenger" else self.state.past_champions[-1:]
        return e.ShadowConcluded(
            model=MODEL,
            run=run.id,
            version=version if isinstance(version, int) else sum(version),
            champion=champion,
            role=role,
            verdict=verdict,
            lower=0.0,
            upper=0.2,
            mean=mean,
            rows=100,
            reason=f"{verdict} on 100 rows",
        )

    def of_another_run(self, event: e.AnyEvent) -> e.AnyEvent:
        return msgspec.structs.replace(event, run="run-of-before")


def _alarm(detector: str, time: int) -> dict[str, Any]:
    return {
        "data_time": time,
        "row": 3,
        "detector": detector,
        "before": 0.1,
        "after": 0.2,
        "strength": 2.0,
        "since_time": time - 1_000,
        "rows_since": 64,
    }
