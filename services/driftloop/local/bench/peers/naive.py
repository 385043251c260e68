"""The baseline: what a user writes first, with FastAPI, pydantic, onnxruntime and uvicorn."""

import sys

import onnxruntime as ort
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

model, port = sys.argv[1:]
app = FastAPI()
session = ort.InferenceSession(model)
name = session.get_inputs()[0].name


class Rows(BaseModel):
    """Rows of features in the model's order."""

    inputs: list[list[float]]


class Answers(BaseModel):
    """The class and the probabilities of each row."""

    predictions: list[int]
    probabilities: list[list[float]]


@app.post("/predict")
async def predict(rows: Rows) -> Answers:
    """Answer the rows; lists go into onnxruntime as they are, which makes float32 of them."""
    labels, probabilities = session.run(None, {name: rows.inputs})
    return Answers(predictions=labels.tolist(), probabilities=probabilities.tolist())


uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")
