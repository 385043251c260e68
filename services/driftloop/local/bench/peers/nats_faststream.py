"""The baseline of NATS: a FastStream handler that decodes, runs onnxruntime, and encodes."""

import asyncio
import sys
from typing import Any

import msgspec
import onnxruntime as ort
import uvloop
from faststream import FastStream
from faststream.nats import NatsBroker, NatsMessage

URL, SUBJECT, MODEL = sys.argv[1:4]
FEATURES = sys.argv[4].split(",")

broker = NatsBroker(URL)
session = ort.InferenceSession(MODEL)
name = session.get_inputs()[0].name


async def raw(message: NatsMessage) -> bytes:
    """The bytes as they came: the handler decodes them itself."""
    return message.body


@broker.subscriber(SUBJECT, decoder=raw)
async def predict(body: bytes) -> bytes:
    """Answer rows by feature name."""
    rows: list[dict[str, Any]] = msgspec.msgpack.decode(body)["rows"]
    matrix = [[row[feature] for feature in FEATURES] for row in rows]
    labels, probabilities = session.run(None, {name: matrix})
    return msgspec.msgpack.encode(
        {"predictions": labels.tolist(), "probabilities": probabilities.tolist()}
    )


async def main() -> None:
    """Answer until the process is ended."""
    await asyncio.gather(FastStream(broker).run())


uvloop.run(main())
