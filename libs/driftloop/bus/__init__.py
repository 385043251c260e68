"""The only door to NATS: streams, control events, column batches, retries, dead letters, state and requests."""
