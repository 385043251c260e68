"""What the console reads from the past: the tables of telemetry, the log, the models' states."""
