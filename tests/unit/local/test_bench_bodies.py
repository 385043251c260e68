import json
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from tritonclient.grpc import service_pb2

from driftloop.local.bench import answers, bodies, job, wire
from driftloop.local.bench.answers import Unreadable, differs, numbers
from driftloop.local.bench.bodies import HEAD_LENGTH, NAMES
from driftloop.local.bench.workloads import FEATURES, Encoding

ROWS = np.round(np.random.default_rng(3).normal(size=(3, FEATURES)), 6)
FLOATS = ROWS.astype(np.float32)
TRUTH = np.array([[0.25, 0.75], [0.9, 0.1], [0.5, 0.5]], dtype=np.float32)


def body(encoding: Encoding) -> bytes:
    return bodies.requests(encoding, "logreg", [ROWS]).bodies[0]


def test_json_tensors_are_compact_and_hold_the_rows_as_they_are() -> None:
    made = body("v2")
    assert b" " not in made
    (tensor,) = json.loads(made)["inputs"]
    assert (tensor["name"], tensor["shape"], tensor["datatype"]) == ("X", [3, FEATURES], "FP32")
    assert tensor["data"] == ROWS.ravel().tolist()


def test_binary_tensors_follow_json_of_the_length_the_header_says() -> None:
    made = bodies.requests("v2-binary", "logreg", [ROWS, ROWS + 1])
    length = int(made.headers[HEAD_LENGTH])
    for at, sent in enumerate(made.bodies):
        head, raw = json.loads(sent[:length]), sent[length:]
        assert head["inputs"][0]["parameters"] == {"binary_data_size": len(raw)}
        assert head["parameters"] == {"binary_data_output": True}
        wanted = (ROWS + at).astype("<f4").ravel()
        np.testing.assert_array_equal(np.frombuffer(raw, "<f4"), wanted)


def test_plain_rows_are_lists_instances_or_objects() -> None:
    assert json.loads(body("rows")) == {"inputs": ROWS.tolist()}
    assert json.loads(body("instances")) == {"instances": ROWS.tolist()}
    named = [dict(zip(NAMES, row, strict=True)) for row in ROWS.tolist()]
    assert json.loads(body("named")) == {"rows": named}
    assert msgspec.msgpack.decode(body("msgpack")) == {"rows": named}


def test_arrow_is_one_batch_of_a_column_for_each_feature() -> None:
    with pa.ipc.open_stream(body("arrow")) as reader:
        (batch,) = list(reader)
    assert batch.schema.names == list(NAMES)
    assert set(batch.schema.types) == {pa.float32()}
    np.testing.assert_array_equal(np.column_stack([c.to_numpy() for c in batch.columns]), FLOATS)


def test_another_implementation_reads_the_grpc_request() -> None:
    read = service_pb2.ModelInferRequest.FromString(body("grpc"))
    assert (read.model_name, len(read.inputs)) == ("logreg", 1)
    tensor = read.inputs[0]
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("X", "FP32", [3, FEATURES])
    np.testing.assert_array_equal(np.frombuffer(read.raw_input_contents[0], "<f4"), FLOATS.ravel())


@pytest.mark.parametrize("raw", [True, False])
def test_answers_of_another_grpc_implementation_are_read(raw: bool) -> None:
    made = service_pb2.ModelInferResponse(model_name="logreg", model_version="1", id="x" * 300)
    label = made.outputs.add(name="label", datatype="INT64", shape=[3])
    found = made.outputs.add(name="probabilities", datatype="FP32", shape=[3, 2])
    if raw:
        made.raw_output_contents.append(np.array([1, 0, 0], "<i8").tobytes())
        made.raw_output_contents.append(TRUTH.tobytes())
    else:
        label.contents.int64_contents.extend([1, 0, 0])
        found.contents.fp32_contents.extend(TRUTH.ravel().tolist())
    np.testing.assert_allclose(numbers("grpc", {}, made.SerializeToString(), 3), TRUTH)


@pytest.mark.parametrize("message", [b"\x0a\xff", b"\x0b\x01", b"\xff" * 3, b"\x2a\x01\x12"])
def test_a_broken_grpc_message_is_unreadable(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"ends within|not known"):
        wire.infer_outputs(message)
    with pytest.raises(Unreadable):
        numbers("grpc", {}, message, 3)


@pytest.mark.parametrize("encoding", ["v2", "v2-binary", "arrow"])
def test_the_ceilings_answer_is_one_that_could_be_right(encoding: Encoding) -> None:
    head, _, sent = bodies.constant(encoding, "logreg", TRUTH).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ") for line in lines)}
    assert status == "HTTP/1.1 200 OK"
    assert int(headers["content-length"]) == len(sent)
    assert differs(numbers(encoding, headers, sent, 3), TRUTH) == ""


@pytest.mark.parametrize("encoding", ["grpc", "msgpack"])
def test_the_ceilings_message_is_one_that_could_be_right(encoding: Encoding) -> None:
    sent = bodies.constant(encoding, "logreg", TRUTH)
    assert differs(numbers(encoding, {}, sent, 3), TRUTH) == ""


ANSWERS = [
    {"predictions": [1, 0, 0], "probabilities": TRUTH.tolist()},
    {
        "predictions": ["1", "0", "0"],
        "probabilities": [{"0": a, "1": b} for a, b in TRUTH.tolist()],
    },
    {"predictions": TRUTH.tolist()},
    {"predictions": TRUTH[:, 1].tolist()},
    {"predictions": [1, 0, 0]},
    {"predictions": [[1], [0], [0]]},
]


@pytest.mark.parametrize("told", ANSWERS)
def test_plain_answers_are_probabilities_one_probability_or_labels(told: dict[str, object]) -> None:
    assert differs(numbers("instances", {}, json.dumps(told).encode(), 3), TRUTH) == ""


def test_labels_of_v2_are_read_where_there_are_no_probabilities() -> None:
    output = {"name": "label", "shape": [3], "datatype": "INT64", "data": [1, 0, 0]}
    text = {"name": "name", "shape": [3], "datatype": "BYTES", "data": ["a", "b", "c"]}
    sent = json.dumps({"outputs": [text, output]}).encode()
    assert numbers("v2", {}, sent, 3).tolist() == [[1], [0], [0]]
    with pytest.raises(Unreadable, match=r"outputs of \['BYTES'\]"):
        numbers("v2", {}, json.dumps({"outputs": [text]}).encode(), 3)


@pytest.mark.parametrize(
    ("encoding", "sent"),
    [
        ("v2", b"{"),
        ("v2", b'{"error": "no"}'),
        ("v2", b'{"outputs": [{"datatype": "FP32", "data": [0.1, 0.2]}]}'),
        ("rows", b"[1, 2, 3]"),
        ("rows", b'{"detail": "no"}'),
        ("rows", b'{"predictions": ["a", "b", "c"]}'),
        ("rows", b'{"predictions": [0, 1]}'),
        ("arrow", b"no stream"),
        ("msgpack", b"\xc1"),
    ],
)
def test_what_is_no_answer_is_unreadable(encoding: Encoding, sent: bytes) -> None:
    with pytest.raises(Unreadable, match="answer: "):
        numbers(encoding, {}, sent, 3)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (TRUTH + 2e-4, "by 0.0002"),
        (TRUTH[:, ::-1], "by 0.8"),
        (np.full((3, 2), np.nan), "by inf"),
        (np.array([[0.0], [0.0], [0.0]]), "by 1"),
        (np.zeros((3, 3)), "shape"),
    ],
)
def test_a_wrong_answer_is_told(found: answers.Matrix, why: str) -> None:
    assert why in differs(found, TRUTH)


def test_bodies_of_any_bytes_come_back_from_a_file(tmp_path: Path) -> None:
    made = [b"", bytes(range(256)), b"0000000003abc\r\n\x00", b"x" * 70_000]
    job.write_bodies(tmp_path / "some", made)
    assert job.read_bodies(tmp_path / "some") == made
