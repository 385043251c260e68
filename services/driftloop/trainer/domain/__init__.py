"""Which rows of the log a candidate is trained on."""
