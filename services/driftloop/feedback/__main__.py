"""`python -m driftloop.feedback`."""

from driftloop.feedback.app import SERVICE
from driftloop.runtime.serve import main

main(SERVICE)
