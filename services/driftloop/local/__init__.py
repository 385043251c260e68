"""Starts the whole system on one machine, and holds the workloads it is tried on."""
