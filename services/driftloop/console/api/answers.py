"""Answers of the operator API: JSON of a struct, and the same struct's schema in OpenAPI."""

from functools import cache
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request, Response

from driftloop.bus.bus import unknown
from driftloop.client.requeue import Requeued
from driftloop.console.api import shapes
from driftloop.console.hub import Models
from driftloop.contracts.names import check_model_name
from driftloop.contracts.requests import Done
from driftloop.runtime.access import right_of

JSON: Final = "application/json"
_PLACE: Final = "#/components/schemas/{name}"
_HEADERS: Final = {"cache-control": "no-store"}


def answer(value: object) -> Response:
    """A struct, or what is made of structs, as JSON."""
    return Response(msgspec.json.encode(value), media_type=JSON, headers=_HEADERS)


def raw(data: bytes) -> Response:
    """What is JSON already."""
    return Response(data, media_type=JSON, headers=_HEADERS)


def models_of(request: Request) -> Models:
    """The models a caller may know of; None is all."""
    right = right_of(request)
    return None if right is None else right.models


def asked_model(request: Request, model: str) -> str:
    """A model in the query, or "" for any.

    Raises `InvalidName`, and `UnknownModel` for one the caller may not know of.
    """
    models = models_of(request)
    if model and models is not None and check_model_name(model) not in models:
        raise unknown(model)
    return check_model_name(model) if model else ""


def gives(kind: Any, text: str = "") -> dict[int | str, dict[str, Any]]:
    """What a route answers, for its `responses`: one of `KINDS`, or a list of them."""
    schema = _schemas()[0].get(kind)
    if schema is None:
        raise ValueError(f"{kind}: has no schema; accepted: what `api.shapes` exports, and lists")
    return {200: {"description": text or "As asked", "content": {JSON: {"schema": schema}}}}


def describe(app: FastAPI) -> None:
    """Add the schemas of all answers to the app's OpenAPI document."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        made = plain()
        made.setdefault("components", {}).setdefault("schemas", {}).update(_schemas()[1])
        return made

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's pages say it is extended


@cache
def _schemas() -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
    """The schema of each kind of answer, and all that they refer to."""
    plain = [its for its in vars(shapes).values() if isinstance(its, type)]
    kinds = [*plain, Done, Requeued]
    kinds += [list[its] for its in kinds]  # type: ignore[valid-type]  # made here, not checked
    made, parts = msgspec.json.schema_components(kinds, ref_template=_PLACE)
    return dict(zip(kinds, made, strict=True)), parts
