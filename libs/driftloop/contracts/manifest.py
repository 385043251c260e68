"""What a version is made of: the rows it was trained on, the checks it passed, its digests."""

from typing import Any

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


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """An input or output of a model: ONNX's name of its type, and its shape; -1 is any size."""

    name: str
    type: str
    shape: tuple[int, ...]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a version is made of. Digests are SHA-256 of artifacts; times in seconds.

    `train` holds exactly the rows of the chosen one of the windows `tried`. `feature_types` are the
    spec's, in the order of `features`. `inputs`, `outputs`, `opset` (version of each operator set)
    and `operators` are read from the model's bytes.
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
    feature_types: tuple[str, ...] = ()
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    opset: dict[str, int] = {}
    operators: tuple[str, ...] = ()


def canonical(manifest: Manifest) -> bytes:
    """The bytes of a manifest that its digest and its signature are of.

    JSON with sorted keys and without fields that have their default, so that a field that is added
    later leaves them as they are; the same after any number of times through MessagePack.
    """
    as_sent = msgspec.msgpack.decode(msgspec.msgpack.encode(manifest), type=Manifest)
    return msgspec.json.encode(_plain(as_sent), order="sorted")


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        named = ((field, getattr(value, field.name)) for field in msgspec.structs.fields(value))
        return {field.name: _plain(its) for field, its in named if not _is_default(field, its)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def _is_default(field: Any, value: Any) -> bool:
    if field.default is not msgspec.NODEFAULT:
        return bool(value == field.default)
    return field.default_factory is not msgspec.NODEFAULT and not value
