"""`python -m driftloop.telemetry`."""

from driftloop.runtime.serve import main
from driftloop.telemetry.app import SERVICE

main(SERVICE)
