"""The services of the data plane, each alone: how fast it drains what waits for it in the log."""
