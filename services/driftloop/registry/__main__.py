"""`python -m driftloop.registry`."""

from driftloop.registry.app import SERVICE
from driftloop.runtime.serve import main

main(SERVICE)
