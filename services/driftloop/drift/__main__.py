"""`python -m driftloop.drift`."""

from driftloop.drift.app import SERVICE
from driftloop.runtime.serve import main

main(SERVICE)
