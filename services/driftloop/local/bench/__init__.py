"""`driftloop bench serve`: the inference service beside peers, under the same load, in one run."""
