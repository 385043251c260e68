"""Streaming drift: features, predictions and live loss under one false-alarm budget a model."""
