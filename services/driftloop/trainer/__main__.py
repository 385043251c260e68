"""`python -m driftloop.trainer`."""

from driftloop.runtime.serve import main
from driftloop.trainer.app import SERVICE

main(SERVICE)
