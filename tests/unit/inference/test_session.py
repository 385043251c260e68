import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from driftloop.inference.session import ModelRefused, Session
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
    [(4, 2, r"inputs X: tensor\(float\).*\[rows, 4\]"), (3, 3, r"shape \[1, 2\].*\[1, 3\]")],
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
