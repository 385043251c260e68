"""The usual requests over HTTP: their answers are written straight into the connection."""

import struct
from typing import Final

import msgspec
import orjson

from driftloop.contracts.batches import Matrix
from driftloop.inference.core.call import Call, Served
from driftloop.inference.core.meters import METERS
from driftloop.inference.v2.outputs import PREDICTIONS, PROBABILITIES
from driftloop.runtime.http1 import Exchange
from driftloop.runtime.problems import explained

JSON: Final = b"application/json"
OCTETS: Final = b"application/octet-stream"
MOST_TEMPLATES: Final = 32
_encode = msgspec.json.Encoder().encode
_numbers = orjson.dumps
"""Writes float32 in as many digits as tell it apart, half as many as the same as float64."""
_LENGTH: Final = struct.Struct("<I")
_HEAD: Final = b'{"model_name":"%b","model_version":"%d","id":%%b,"outputs":[{"name":"%b",'
_LABELS: Final = b'"datatype":"BYTES","shape":[%d],'
_SIZE: Final = b'"parameters":{"binary_data_size":%d}}'


class JsonCall(Call):
    """Answered in JSON, all outputs."""

    __slots__ = ("exchange",)

    exchange: Exchange

    def answered_one(self, served: Served, row: list[float], best: int) -> None:
        """Write the answer to one row."""
        plan = served.plan
        template = plan.templates.get(served.champion.manifest.version) or _json_template(served)
        if classes := plan.class_texts:
            made = template % (_encode(self.id), 1, classes[best], 1, _encode(row))
        else:
            made = template % (_encode(self.id), 1, _encode(row))
        self.exchange.json(made)

    def answered(self, served: Served, answers: Matrix, best: list[int]) -> None:
        """Write the answer."""
        plan = served.plan
        template = plan.templates.get(served.champion.manifest.version) or _json_template(served)
        rows, classes = self.rows, plan.class_texts
        values = _numbers(answers.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)
        if classes:
            texts = b",".join([classes[at] for at in best])
            made = template % (_encode(self.id), rows, texts, rows, values)
        else:
            made = template % (_encode(self.id), rows, values)
        self.exchange.json(made)

    def refused(self, error: Exception) -> None:
        """Write the error."""
        fail(self.exchange, error)


class BinaryCall(Call):
    """Answered with all outputs as binary data behind a head of JSON."""

    __slots__ = ("exchange",)

    exchange: Exchange

    def answered(self, served: Served, answers: Matrix, best: list[int]) -> None:
        """Write the answer."""
        plan = served.plan
        template = plan.templates.get(-served.champion.manifest.version) or _binary_template(served)
        rows, id, values = self.rows, _encode(self.id), answers.tobytes()
        if plan.class_texts:
            raws = plan.class_bytes
            labels = b"".join([raws[at] for at in best])
            head = template % (id, rows, len(labels), rows, len(values))
            body = b"%b%b%b" % (head, labels, values)
        else:
            head = template % (id, rows, len(values))
            body = head + values
        line = b"inference-header-content-length: %d\r\n" % len(head)
        self.exchange.answer(200, OCTETS, body, line)

    def refused(self, error: Exception) -> None:
        """Write the error."""
        fail(self.exchange, error)


def _json_template(served: Served) -> bytes:
    """The answer with places for id, rows and values, kept with the plan."""
    made, classes = _start(served)
    if not classes:
        made += b'"datatype":"FP32","shape":[%d],"data":%b}]}'
    else:
        made += _LABELS + b'"data":[%b]},{"name":"' + PROBABILITIES.encode()
        made += b'","datatype":"FP32","shape":[%%d,%d],"data":%%b}]}' % classes
    return _keep(served, served.champion.manifest.version, made)


def _binary_template(served: Served) -> bytes:
    """The head of a binary answer with places for id, rows and sizes; kept under -version."""
    made, classes = _start(served)
    if not classes:
        made += b'"datatype":"FP32","shape":[%d],' + _SIZE + b"]}"
    else:
        made += _LABELS + _SIZE + b',{"name":"' + PROBABILITIES.encode()
        made += b'","datatype":"FP32","shape":[%%d,%d],' % classes + _SIZE + b"]}"
    return _keep(served, -served.champion.manifest.version, made)


def _start(served: Served) -> tuple[bytes, int]:
    spec, version = served.plan.spec, served.champion.manifest.version
    return _HEAD % (spec.name.encode(), version, PREDICTIONS.encode()), len(spec.target.classes)


def _keep(served: Served, place: int, made: bytes) -> bytes:
    templates = served.plan.templates
    if len(templates) >= MOST_TEMPLATES:
        templates.clear()
    templates[place] = made
    return made


def error_of(error: Exception) -> tuple[int, bytes, dict[str, str]]:
    """Status, body (`{"error": text}`) and headers of an error, as the protocol says."""
    status, text, headers = explained(error, "infer")
    return 400 if status == 422 else status, _encode({"error": text}), headers


def told(error: Exception) -> tuple[int, bytes, bytes]:
    """Status, body and header lines of an error."""
    status, body, headers = error_of(error)
    return (
        status,
        body,
        b"".join([b"%b: %b\r\n" % (k.encode(), v.encode()) for k, v in headers.items()]),
    )


def fail(exchange: Exchange, error: Exception) -> None:
    """Write an error, and count it."""
    METERS.refused(type(error))
    status, body, lines = told(error)
    exchange.answer(status, JSON, body, lines)
