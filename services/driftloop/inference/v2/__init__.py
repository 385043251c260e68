"""The Open Inference Protocol V2, whatever it travels on: its messages, tensors and service."""
