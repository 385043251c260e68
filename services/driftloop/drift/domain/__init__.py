"""Detectors and how they share the alarm budget: no I/O, no clock."""
