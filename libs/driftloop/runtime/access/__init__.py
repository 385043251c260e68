"""Who may do what over HTTP and gRPC: bearer tokens, their scopes, models, rates and sizes."""

from driftloop.runtime.access.access import Access, Enter, Right, bearer
from driftloop.runtime.access.document import document, refusal
from driftloop.runtime.access.guard import Guarded, right_of
from driftloop.runtime.access.rules import OPEN, Rule, Rules, anywhere, everywhere, of_model

__all__ = [
    "OPEN",
    "Access",
    "Enter",
    "Guarded",
    "Right",
    "Rule",
    "Rules",
    "anywhere",
    "bearer",
    "document",
    "everywhere",
    "of_model",
    "refusal",
    "right_of",
]
