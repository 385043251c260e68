"""Starts the inference service."""

from driftloop.inference.app import SERVICE
from driftloop.runtime.serve import main

main(SERVICE)
