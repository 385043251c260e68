"""The engine of scoring alone: onnxruntime on rows that are in memory, one thread."""

import sys
import time

import numpy as np
import onnxruntime as ort

MODEL, ROWS, SECONDS = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])

options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(MODEL, options)
name, output = session.get_inputs()[0].name, session.get_outputs()[1].name
width = session.get_inputs()[0].shape[1]
matrix = np.random.default_rng(1).normal(size=(ROWS, width)).astype(np.float32)
runs, began = 0, time.process_time()
while time.process_time() - began < SECONDS:
    session.run([output], {name: matrix})
    runs += 1
sys.stdout.write(str(runs * ROWS / (time.process_time() - began)))
