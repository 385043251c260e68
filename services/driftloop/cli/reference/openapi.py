"""The OpenAPI documents of the services that speak HTTP to people and producers."""

import importlib
import inspect
import json
from typing import Final

SERVICES: Final = ("ingest", "inference", "console")


def document(service: str) -> str:
    """The OpenAPI document of a service; its routes are made, and none is called."""
    create_app = importlib.import_module(f"driftloop.{service}.http").create_app
    later = dict.fromkeys(inspect.signature(create_app).parameters, _Later())
    return json.dumps(create_app(**later).openapi(), indent=2, sort_keys=True)


class _Later:
    """Stands for what the routes of an app use when they are called."""

    def __getattr__(self, _: str) -> "_Later":
        return self
