"""What telemetry decides: a message's rows, which questions may be asked, what a view shows."""
