"""`python -m driftloop.console` runs the service."""

from driftloop.console.app import SERVICE
from driftloop.runtime.serve import main

main(SERVICE)
