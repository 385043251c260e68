"""Generates the reference pages from the code: `python -m driftloop.cli.reference [--check]`."""
