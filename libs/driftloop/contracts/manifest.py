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


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a version is made of. Digests are SHA-256 of artifacts; times in seconds."""

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
