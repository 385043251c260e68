"""Servers to compare with: plain scripts, each started alone with `python FILE`."""
