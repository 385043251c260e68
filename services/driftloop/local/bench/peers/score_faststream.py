"""The baseline of scoring: a FastStream handler that is called with each row, as a message."""

import asyncio
import sys

import msgspec
import numpy as np
import onnxruntime as ort
import uvloop
from faststream import FastStream
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub

URL, MODEL, STREAM, SUBJECT, ANSWERS = sys.argv[1:6]

broker = NatsBroker(URL)
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(MODEL, options)
name, output = session.get_inputs()[0].name, session.get_outputs()[1].name
decode = msgspec.msgpack.Decoder(list[float]).decode
answers = broker.publisher(ANSWERS, stream=JStream("SCORED", declare=False))


async def raw(message: NatsMessage) -> bytes:
    """The bytes as they came: the handler decodes them itself."""
    return message.body


@broker.subscriber(
    SUBJECT,
    stream=JStream(STREAM, declare=False),
    pull_sub=PullSub(batch_size=256),
    durable="faststream",
    decoder=raw,
)
@answers
async def predict(body: bytes) -> bytes:
    """The answer to one row."""
    row = np.array([decode(body)], dtype=np.float32)
    (found,) = session.run([output], {name: row})
    return msgspec.msgpack.encode(found[0].tolist())


async def main() -> None:
    """Score until the process is ended."""
    await asyncio.gather(FastStream(broker).run())


uvloop.run(main())
