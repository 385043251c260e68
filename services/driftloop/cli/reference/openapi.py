"""The OpenAPI documents of the services that speak HTTP to people and producers."""

import importlib
import inspect
import json
from typing import Any, Final

SERVICES: Final = ("ingest", "inference", "console")


def document(service: str) -> str:
    """The OpenAPI document of a service; its routes are made, and none is called."""
    create_app = importlib.import_module(f"driftloop.{service}.http").create_app
    nothing: dict[str, Any] = dict.fromkeys(inspect.signature(create_app).parameters)
    return json.dumps(create_app(**nothing).openapi(), indent=2, sort_keys=True)
