"""Answers as outputs of the Open Inference Protocol V2: classes, probabilities, values, top-k."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from driftloop.contracts.batches import Matrix
from driftloop.contracts.errors import InvalidInput
from driftloop.inference.core.call import Answered
from driftloop.inference.domain.plan import Plan, unknown
from driftloop.inference.v2.messages import Tensor, TensorMetadata, Wanted

PREDICTIONS: Final = "predictions"
PROBABILITIES: Final = "probabilities"
CONTRIBUTIONS: Final = "contributions"


def names(plan: Plan) -> tuple[str, ...]:
    """The outputs a model gives when none is named."""
    return (PREDICTIONS, PROBABILITIES) if plan.spec.target.classes else (PREDICTIONS,)


def metadata(plan: Plan) -> list[TensorMetadata]:
    """The outputs of a model, -1 for the rows."""
    classes = plan.spec.target.classes
    if not classes:
        return [TensorMetadata(PREDICTIONS, "FP32", (-1,))]
    return [
        TensorMetadata(PREDICTIONS, "BYTES", (-1,)),
        TensorMetadata(PROBABILITIES, "FP32", (-1, len(classes))),
    ]


def check(plan: Plan, wanted: Sequence[Wanted]) -> None:
    """Raise `InvalidInput` for an output that the model does not give."""
    known = (*names(plan), CONTRIBUTIONS)
    seen: set[str] = set()
    for one in wanted:
        if one.name not in known:
            raise InvalidInput(unknown("outputs", one.name, known))
        if one.name in seen:  # or a small request could ask for an answer of any size
            raise InvalidInput(
                f"outputs: {one.name!r} stands there twice; accepted: different names"
            )
        seen.add(one.name)
        if one.classification < 0:
            raise InvalidInput(
                f"outputs.{one.name}.classification: {one.classification}; accepted: from 1"
            )
        if one.classification and one.name == CONTRIBUTIONS:
            raise InvalidInput(f"outputs.{one.name}: has no classes to rank")


def tensors(
    answered: Answered, wanted: Sequence[Wanted], contributions: Matrix | None = None
) -> list[Tensor]:
    """The outputs asked for, or all of them; `contributions` are the explanation, if wanted."""
    plan = answered.served.plan
    made = []
    for one in wanted or [Wanted(name) for name in names(plan)]:
        if one.classification:
            made.append(_ranked(one, answered))
        elif one.name == CONTRIBUTIONS and contributions is not None:
            made.append(Tensor(CONTRIBUTIONS, "FP32", contributions.shape, contributions))
        else:
            made.append(_plain(one.name, answered))
    return made


def _plain(name: str, answered: Answered) -> Tensor:
    classes = answered.served.plan.spec.target.classes
    answers = answered.answers
    if name == PROBABILITIES:
        return Tensor(name, "FP32", answers.shape, answers)
    if classes:
        texts = [classes[best].encode() for best in answered.best]
        return Tensor(name, "BYTES", (len(texts),), texts)
    return Tensor(name, "FP32", (len(answers),), answers[:, 0])


def _ranked(one: Wanted, answered: Answered) -> Tensor:
    """Triton's classification extension: the best classes as texts `score:index:label`."""
    classes = answered.served.plan.spec.target.classes or (PREDICTIONS,)
    answers = answered.answers
    top = min(one.classification, answers.shape[1])
    order = np.argsort(-answers, axis=1, kind="stable")[:, :top].tolist()
    texts = [
        f"{row[at]:.6f}:{at}:{classes[at]}".encode()
        for row, ranks in zip(answers.tolist(), order, strict=True)
        for at in ranks
    ]
    return Tensor(one.name, "BYTES", (len(answers), top), texts)
