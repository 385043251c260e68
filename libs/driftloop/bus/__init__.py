"""The only door to NATS: streams, events, batches, retries, dead letters, state, requests."""
