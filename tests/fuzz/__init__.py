"""Wrong inputs by the thousand, at every door of the real services: `python -m tests.fuzz`."""

import os

# Else a process that is started while the gRPC client has threads may abort at its start.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
