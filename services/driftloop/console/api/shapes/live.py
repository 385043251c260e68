"""Shapes of what is live: cards of models, services, outages, and the messages of the stream."""

from typing import Literal

import msgspec

DriftState = Literal["calm", "suspected", "alarm"]
Tone = Literal["quiet", "warn", "bad"]
"""`suspected`: a detector has at least half of what makes an alarm; `alarm`: one stands."""
Accounting = Literal["closed", "open", "unknown"]
"""`open`: a sum of the audit does not close and nothing is on its way; `unknown`: not yet added up,
or telemetry does not answer."""


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """Something the console needs and cannot reach; gone from the list once it can.

    `what`: `nats`, `telemetry`, `registry` or another service, or `STREAM` for a log that stopped.
    """

    what: str
    since: str
    text: str


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm that stands: said since the champion's promotion and not answered by a promotion.

    `kind` is that of the event: `drift.detected`, `performance.degraded` or `labels.shifted`.
    `silenced_until` is "" if nobody silenced it.
    """

    id: str
    kind: str
    detector: str
    text: str
    time: str
    data_time: int = 0
    since_time: int = 0
    silenced_until: str = ""


class Paused(msgspec.Struct, frozen=True, kw_only=True):
    """Who paused the loop of a model, why, and since when."""

    by: str
    reason: str
    since: str


class Silenced(msgspec.Struct, frozen=True, kw_only=True):
    """A silence in force: alarms of one `detector`, or of all (""), until when, by whom, why."""

    detector: str
    by: str
    reason: str
    until: str


class RunNow(msgspec.Struct, frozen=True, kw_only=True):
    """The run in progress: `stage` is training, gating, shadowing, approval or probation."""

    id: str
    stage: str
    trigger: str
    started: str
    version: int


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A model in one row of the overview.

    `champion` is the version that answers, 0 before the first. `rate` is scored rows a second.
    `p99_ms` is of requests answered in the newest 5 minutes, in milliseconds. `loss` is the mean
    loss of the champion's newest labelled rows and `loss_trend` its course, the newest last;
    `loss_name` says which loss. `drift_share` is the largest share, of any detector, of what makes
    an alarm. `missing` are rows the accounting misses; `audited` is when it was added up, "" if
    never. `alarms` are the newest 5 that stand. `waiting` is the version that waits for approval,
    or 0. `trouble` orders the overview: 0 is well, larger is worse; `tone` says whether somebody
    has to look now ("bad"), soon ("warn") or not; `trouble_text` says why in one sentence, "" where
    all is well.
    """

    name: str
    task: str = ""
    champion: int = 0
    champion_since: str = ""
    rate: float = 0.0
    p99_ms: float | None = None
    loss: float | None = None
    loss_name: str = ""
    loss_trend: list[float] = []
    drift: DriftState = "calm"
    drift_share: float = 0.0
    run: RunNow | None = None
    accounting: Accounting = "unknown"
    missing: int = 0
    audited: str = ""
    alarms: list[Alarm] = []
    silences: list[Silenced] = []
    paused: Paused | None = None
    waiting: int = 0
    trouble: int = 0
    tone: Tone = "quiet"
    trouble_text: str = ""


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """How far one consumer of a service is behind: messages, as JetStream counts them.

    `pending` are not yet given out, `unacknowledged` given out and being worked on, `redelivered`
    of these more than once. `delivered` is the sequence of the newest one given out.
    """

    stream: str
    durable: str
    pending: int
    unacknowledged: int = 0
    redelivered: int = 0
    delivered: int = 0


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A service by its last words. `memory_mb` is resident, `cpu` is of one core.

    `heard` is seconds since its last words, None if it was never heard. `restarts` counts processes
    that took the place of one that fell silent, as far as the console has heard. Of several
    `instances`, memory and CPU are added up, and the rest is of the newest. `version` is
    Driftloop's.
    """

    name: str
    ready: bool = False
    reason: str = ""
    version: str = ""
    pid: int = 0
    instances: int = 0
    started: str = ""
    restarts: int = 0
    memory_mb: float = 0.0
    cpu: float = 0.0
    cpu_seconds: float = 0.0
    heard: float | None = None
    url: str = ""
    lag: list[Lag] = []


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """Cards sorted by trouble, then name; `total` are those that the search found.

    `well` and `troubled` count all models that the caller may see, searched for or not.
    """

    time: str
    total: int
    cards: list[Card]
    well: int = 0
    troubled: int = 0


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All that is live in one document. `dropped` counts what the console's bounds left out."""

    time: str
    version: str
    event_seq: int
    dropped: int
    outages: list[Outage]
    services: list[Service]
    cards: list[Card]


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """First message of the stream: who the page is, what it may do, and where the log stands.

    `user` is the token's name ("" where no tokens are asked for), `scopes` what it may: `read`,
    `operate` and so on, of `models` (None: of all). `event_seq` is the newest event the console has
    heard. `events_kept` are the events `/api/events` answers from memory.
    """

    time: str
    user: str
    scopes: list[str]
    models: list[str] | None
    version: str
    event_seq: int
    events_kept: int = 0


class Cards(msgspec.Struct, frozen=True, kw_only=True):
    """Message `cards`: those that changed (all of them at first), and names that are gone."""

    time: str
    cards: list[Card]
    gone: list[str] = []


class Missed(msgspec.Struct, frozen=True, kw_only=True):
    """Message `missed`: so many events were not sent because the page did not keep up."""

    count: int
