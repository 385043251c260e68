"""The contract between the services: events, batches, subjects and streams, defined here alone."""
