"""The Open Inference Protocol V2 over gRPC; the only package that imports protobuf for it."""
