"""What a version is made of: the rows it was trained on, the checks it passed, its digests."""

import msgspec


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A range of a log: rebuilt from it, and proved by the SHA-256 over the payloads in order."""

    stream: str
    first_seq: int
    last_seq: int
    rows: int
    sha256: str


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """One named check of a candidate: a number, a bound and a verdict."""

    name: str
    value: float
    bound: float
    passed: bool
    detail: str = ""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A training set that is tried: the newest `rows` rows before the holdout, and what came of it.

    It begins at `first_seq` of the log. `half_life` is the age, in rows, at which a row counts half
    (0: all count the same). `loss` is the mean bounded loss on the holdout, `seconds` what fit and
    answers took; both are there after the fit. `skipped` says why there was none.
    """

    name: str
    why: str = ""
    rows: int = 0
    first_seq: int = 0
    half_life: int = 0
    loss: float | None = None
    seconds: float = 0.0
    chosen: bool = False
    skipped: str = ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a version is made of. Digests are SHA-256 of artifacts; times in seconds.

    `train` holds exactly the rows of the chosen one of the windows `tried`.
    """

    model: str
    version: int
    model_sha256: str
    model_bytes: int
    train: Dataset
    holdout: Dataset
    holdout_answers_sha256: str
    snapshot_sha256: str
    spec_revision: int
    features: tuple[str, ...]
    width: int
    estimator: str
    window: str
    metrics: dict[str, float]
    seconds: float
    cpu_seconds: float
    environment: dict[str, str]
    tried: tuple[Window, ...] = ()
