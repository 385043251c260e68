"""The limit of scoring in Python: a loop of nats-py and onnxruntime, written for this alone."""

import asyncio
import contextlib
import sys

import nats
import numpy as np
import onnxruntime as ort
import pyarrow as pa
import uvloop
from nats.js import JetStreamContext

URL, MODEL, STREAM, SUBJECT, ANSWERS = sys.argv[1:6]
GROUP = 64

options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(MODEL, options)
name, output = session.get_inputs()[0].name, session.get_outputs()[1].name


def scored(payload: bytes) -> bytes:
    """A batch with the answers to its rows."""
    with pa.ipc.open_stream(payload) as reader:
        batch = reader.read_next_batch()
    column = batch.column("features")
    matrix = column.flatten().to_numpy().reshape(-1, column.type.list_size)
    (answers,) = session.run([output], {name: matrix})
    flat = pa.array(np.ascontiguousarray(answers).reshape(-1))
    batch = batch.append_column("answer", pa.FixedSizeListArray.from_arrays(flat, answers.shape[1]))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    made: bytes = sink.getvalue().to_pybytes()
    return made


async def main() -> None:
    """Score until the process is ended."""
    connection = await nats.connect(URL, pending_size=64 << 20)
    js: JetStreamContext = connection.jetstream(publish_async_max_pending=4_000)
    pull = await js.pull_subscribe(SUBJECT, durable="limit", stream=STREAM)
    while True:
        with contextlib.suppress(TimeoutError):
            group = await pull.fetch(GROUP, timeout=0.5)
            waiting = [await js.publish_async(ANSWERS, scored(one.data)) for one in group]
            await asyncio.gather(*waiting)
            for one in group:
                await one.ack()


uvloop.run(main())
