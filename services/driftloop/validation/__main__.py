"""Runs the validation service: `python -m driftloop.validation`."""

from driftloop.runtime.serve import main
from driftloop.validation.app import SERVICE

main(SERVICE)
