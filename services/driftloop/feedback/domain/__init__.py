"""The join as a fold over the log: no I/O, no clock."""
