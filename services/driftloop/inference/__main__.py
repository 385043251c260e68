"""Starts the inference service."""

import sys

from driftloop.inference.app import SERVICE
from driftloop.runtime.serve import main

# A thread that has run a model waits so long for the event loop to let it go on; by default ten
# times as long, which is longer than most runs take.
sys.setswitchinterval(0.0005)
main(SERVICE)
