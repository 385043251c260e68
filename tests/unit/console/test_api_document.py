"""The OpenAPI document: every route says what it answers, and every answer fits its schema."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.connection import Connection
from driftloop.console.api import shapes
from driftloop.console.api.answers import gives
from driftloop.console.handlers import Console
from driftloop.console.http import RULES, create_app
from driftloop.console.orders import Orders
from driftloop.console.settings import ConsoleSettings
from driftloop.runtime.access import Access


async def made() -> dict[str, Any]:
    settings = ConsoleSettings()
    bus = Bus(Connection(settings.nats_url, "console"))  # a document needs nobody at the other end
    app = create_app(Console(bus, settings), Orders(bus, settings), Access(bus, settings))
    return app.openapi()


DOCUMENT = asyncio.run(made())
OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]


def references(value: Any) -> Iterator[str]:
    """All that a part of the document refers to."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


@pytest.mark.parametrize(("key", "operation"), OPERATIONS, ids=[key for key, _ in OPERATIONS])
def test_a_route_says_what_it_answers_and_what_it_is_for(
    key: str, operation: dict[str, Any]
) -> None:
    assert operation["description"]
    content = operation["responses"]["200"]["content"]
    if key == "GET /api/stream":
        assert list(content) == ["text/event-stream"]
        return
    schema = content["application/json"]["schema"]
    schema = schema["items"] if schema.get("type") == "array" else schema
    assert schema["$ref"].startswith("#/components/schemas/")


def test_every_schema_that_is_named_is_there() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for reference in references(DOCUMENT):
        assert reference.removeprefix("#/components/schemas/") in schemas


def test_every_api_route_with_a_rule_is_in_the_document() -> None:
    told = {key for key, _ in OPERATIONS}
    ruled = {re.sub(r":\w+}", "}", key) for key in RULES if " /api/" in key}
    assert ruled == told


def test_every_shape_is_described() -> None:
    for name, kind in vars(shapes).items():
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            assert kind.__doc__, name


def test_an_answer_without_a_schema_cannot_be_promised() -> None:
    with pytest.raises(ValueError, match="has no schema; accepted"):
        gives(int)
