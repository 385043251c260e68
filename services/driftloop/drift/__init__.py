"""Streaming drift: features, predictions and live loss watched under one false-alarm budget a model."""
