"""What producers and callers import: send rows and labels, ask for predictions."""

from driftloop.client.client import Client
from driftloop.client.sending import NotSent, Report, Sent
from driftloop.client.sync import SyncClient

__all__ = ["Client", "NotSent", "Report", "Sent", "SyncClient"]
