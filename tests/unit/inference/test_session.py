import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from driftloop.inference import session as sessions
from driftloop.inference.session import MANY, Cost, ModelRefused, Options, Session
from tests.support.tiny_models import classifier, heavy_classifier, regressor, rows


def test_a_classifier_answers_the_probabilities_of_scikit_learn() -> None:
    model = classifier(classes=3)
    session = Session(model.onnx, features=3, width=3)
    matrix = rows(500, 7)
    np.testing.assert_allclose(session.run(matrix), model.answers(matrix), atol=1e-5)


def test_a_regressor_answers_one_number_a_row() -> None:
    model = regressor()
    session = Session(model.onnx, features=3, width=1)
    matrix = rows(50, 7)
    assert session.run(matrix).shape == (50, 1)
    np.testing.assert_allclose(session.run(matrix), model.answers(matrix), atol=1e-4)


def test_a_forest_answers_as_scikit_learn_does() -> None:
    model = heavy_classifier(trees=20)
    matrix = rows(200, 3)
    answers = Session(model.onnx, features=3, width=2).run(matrix)
    np.testing.assert_allclose(answers, model.answers(matrix), atol=1e-5)


def test_no_rows_have_no_answers() -> None:
    assert Session(classifier().onnx, features=3, width=2).run(rows(0)).shape == (0, 2)


@pytest.mark.parametrize(
    ("features", "width", "says"),
    [(4, 2, r"inputs X: tensor\(float\).*\[rows, 4\]"), (3, 3, r"\[-1, 2\].*\[rows, 3\]")],
)
def test_a_signature_that_is_not_the_manifests_is_refused(
    features: int, width: int, says: str
) -> None:
    with pytest.raises(ModelRefused, match=says):
        Session(classifier().onnx, features, width)


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x80\x04]", classifier().onnx[:-20]])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(ModelRefused):
        Session(data, 3, 2)


def _model(tensor: onnx.TensorProto, domain: str = "") -> bytes:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["X", "W"], ["Y"], domain=domain)],
        "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None, 2])],
        [tensor],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(domain or "ai.onnx.ml", 1)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return bytes(made.SerializeToString())


def test_weights_in_another_file_are_refused() -> None:
    tensor = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[3, 2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    with pytest.raises(ModelRefused, match="tensor 'W' lies in another file"):
        Session(_model(tensor), 3, 2)


def test_operators_that_are_not_onnxs_own_are_refused() -> None:
    tensor = helper.make_tensor("W", TensorProto.FLOAT, [3, 2], [1.0] * 6)
    with pytest.raises(ModelRefused, match=r"operators of com\.evil"):
        Session(_model(tensor, "com.evil"), 3, 2)


def test_a_tensor_that_no_machine_holds_is_refused_by_the_trial_run() -> None:
    shape = helper.make_tensor("S", TensorProto.INT64, [1], [1 << 40])
    graph = helper.make_graph(
        [
            helper.make_node("ConstantOfShape", ["S"], ["big"]),
            helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
            helper.make_node("Add", ["X", "sum"], ["Y"]),
        ],
        "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None, 3])],
        [shape],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    with pytest.raises(ModelRefused):
        Session(made.SerializeToString(), 3, 3)


def test_an_operator_of_onnxruntimes_own_is_refused_though_onnxruntime_would_run_it() -> None:
    node = helper.make_node("Gelu", ["X"], ["Y"], domain="com.microsoft")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 3]) for name in "XY"]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 18)]  # its own set is not even imported
    made = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    with pytest.raises(ModelRefused, match=r"operators of com\.microsoft"):
        Session(made.SerializeToString(), 3, 3)


def test_the_time_of_a_run_is_measured_when_a_session_is_made() -> None:
    light = Session(classifier().onnx, 3, 2).cost
    heavy = Session(heavy_classifier(trees=100).onnx, 3, 2).cost
    assert 0 < light.one < heavy.many
    assert light.many < heavy.many


def test_the_time_of_rows_lies_on_the_line_through_both_measurements() -> None:
    cost = Cost(one=10.0, many=520.0)
    assert [cost.micros(rows) for rows in (1, 2, MANY)] == [10.0, 12.0, 520.0]
    assert Cost(one=10.0, many=9.0).micros(10_000) == 10.0


def test_the_memory_of_a_session_is_estimated_from_its_file() -> None:
    small, large = classifier().onnx, heavy_classifier(trees=20).onnx
    sizes = [Session(data, 3, 2).size for data in (small, large)]
    assert sizes == [sessions.BASE_BYTES + 5 * len(data) for data in (small, large)]


def test_without_cuda_a_session_runs_on_the_cpu_and_says_so_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    caplog.set_level("INFO", logger="driftloop")
    sessions._say_fallback.cache_clear()
    for _ in range(2):
        session = Session(classifier().onnx, 3, 2, Options(provider="cuda"))
        assert session.provider == "cpu"
    (said,) = caplog.messages
    assert said.startswith("provider: onnxruntime has no cuda here")
    assert said.endswith("models run on cpu")


def test_a_provider_nobody_knows_is_refused() -> None:
    with pytest.raises(ModelRefused, match="'tpu' is not known; accepted: cpu, cuda"):
        Session(classifier().onnx, 3, 2, Options(provider="tpu"))


def test_more_threads_give_the_same_answers() -> None:
    model, matrix = heavy_classifier(trees=20), rows(500, 3)
    one, two = (Session(model.onnx, 3, 2, Options(threads=n)).run(matrix) for n in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-6)
