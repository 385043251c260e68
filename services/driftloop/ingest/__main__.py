"""Runs the ingest service: `python -m driftloop.ingest`."""

from driftloop.ingest.app import SERVICE
from driftloop.runtime.serve import main

main(SERVICE)
