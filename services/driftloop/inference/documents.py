"""The OpenAPI description of the hot routes, which are served beneath FastAPI."""

from typing import Any, Final

from fastapi import FastAPI, Response

_JSON: Final = "application/json"
_ARROW: Final = "application/vnd.apache.arrow.stream"
_MSGPACK: Final = "application/msgpack"
_OCTETS: Final = "application/octet-stream"
_PROBLEM: Final = "application/problem+json"
_TEXT: Final = {"type": "string"}
_NUMBERS: Final = {"type": "array", "items": {"type": "number"}}


Content = dict[str, dict[str, Any]]


def _errors(content: Content, *statuses: int) -> dict[int | str, dict[str, Any]]:
    told = {
        400: "The request says something that cannot be read or is not accepted",
        401: "No token, or one that is not known, is revoked or has expired",
        403: "The token has no scope for this",
        404: "No such model, no such version of it, or none that the token is for",
        408: "The request did not come in time",
        413: "The request is too large",
        414: "The address is too long",
        415: "This content type is not read here",
        422: "A value breaks the model's contract; the text names the field",
        429: "The token is over its rate; try again after Retry-After",
        431: "The header fields are too large, or too many",
        500: "A bug of ours",
        503: "Nobody answers now, or too many rows wait; try again after Retry-After",
        504: "The caller's deadline passed in the queue",
    }
    return {status: {"description": told[status], "content": content} for status in statuses}


_V2_ERROR: Final = {"type": "object", "properties": {"error": _TEXT}, "required": ["error"]}
_PROBLEM_SCHEMA: Final = {
    "type": "object",
    "properties": {
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "errors": {"type": "array", "items": _TEXT},
    },
    "required": ["title", "status", "detail"],
}
_PROBLEM_CONTENT: Final[Content] = {_PROBLEM: {"schema": _PROBLEM_SCHEMA}}
_V2_CONTENT: Final[Content] = {_JSON: {"schema": _V2_ERROR}}
_BOTH: Final[Content] = {**_V2_CONTENT, **_PROBLEM_CONTENT}
"""The protocol's errors, and those of the HTTP server, which come before a protocol is known."""
_TENSOR: Final = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": _TEXT,
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    },
    "required": ["name", "shape", "datatype"],
}
_V2_REQUEST: Final = {
    "type": "object",
    "properties": {
        "id": _TEXT,
        "inputs": {"type": "array", "items": _TENSOR, "minItems": 1},
        "outputs": {
            "type": "array",
            "items": {"type": "object", "properties": {"name": _TEXT}, "required": ["name"]},
        },
        "parameters": {"type": "object"},
    },
    "required": ["inputs"],
}
_V2_RESPONSE: Final = {
    "type": "object",
    "properties": {
        "model_name": _TEXT,
        "model_version": _TEXT,
        "id": _TEXT,
        "outputs": {"type": "array", "items": _TENSOR},
        "parameters": {"type": "object"},
    },
    "required": ["model_name", "model_version", "outputs"],
}
_ROWS: Final = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"rows": {"type": "array", "items": {"type": "object"}}},
            "required": ["rows"],
        },
        {
            "type": "object",
            "properties": {"inputs": {"type": "array", "items": _NUMBERS}, "id": _TEXT},
            "required": ["inputs"],
        },
        {"type": "array", "items": {"type": "object"}},
    ]
}
_PREDICTION: Final = {
    "type": "object",
    "properties": {
        "model": _TEXT,
        "version": {"type": "integer"},
        "event_ids": {"type": "array", "items": _TEXT},
        "predictions": {"type": "array"},
        "probabilities": {"type": "array"},
        "contributions": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["model", "version", "event_ids", "predictions"],
}
INDEX_BODY: Final = {
    "requestBody": {
        "required": False,
        "content": {
            _JSON: {"schema": {"type": "object", "properties": {"ready": {"type": "boolean"}}}}
        },
    }
}
V2_ERRORS: Final = {
    **_errors(_BOTH, 400, 401, 403, 404, 429, 500, 503),
    **_errors(_PROBLEM_CONTENT, 408, 414, 415, 431),
    **_errors(_BOTH, 413),
}
_STREAM: Final = {"type": "string", "format": "binary"}


def _parameter(name: str, where: str, schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "schema": schema,
        "description": text,
    }


_COUNT: Final = {"type": "integer", "minimum": 1, "maximum": 999_999_999}
_MODEL: Final = _parameter("model", "path", _TEXT, "The model's name")
_VERSION: Final = _parameter("version", "path", _TEXT, "A version by number")
_TIMEOUT: Final = _parameter(
    "request-timeout",
    "header",
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1_000_000},
    "Seconds the caller waits, at most",
)
_PREDICT: Final = {
    "parameters": [
        _TIMEOUT,
        _parameter("top_k", "query", _COUNT, "Only so many of the best classes"),
        _parameter("explain", "query", {"type": "boolean"}, "What each feature contributed"),
        _parameter("version", "query", _COUNT, "A version by number"),
    ],
    "requestBody": {
        "required": True,
        "content": {
            _JSON: {"schema": _ROWS},
            _MSGPACK: {"schema": _STREAM},
            _ARROW: {"schema": _STREAM},
        },
    },
}
_INFER: Final = {
    "parameters": [
        _TIMEOUT,
        _parameter(
            "inference-header-content-length",
            "header",
            {"type": "integer", "minimum": 1},
            "Bytes of JSON before binary tensor data",
        ),
    ],
    "requestBody": {
        "required": True,
        "content": {_JSON: {"schema": _V2_REQUEST}, _OCTETS: {"schema": _STREAM}},
    },
}


def add_hot_routes(app: FastAPI) -> None:
    """Document the hot routes; the router takes every request for them."""
    _add_infer(app)
    answer = {
        _JSON: {"schema": _PREDICTION},
        _MSGPACK: {"schema": _STREAM},
        _ARROW: {"schema": _STREAM},
    }
    app.add_api_route(
        "/v1/models/{model}/predict",
        _never,
        methods=["POST"],
        summary="Answer rows by feature name, or a matrix, with the champion",
        responses={200: {"description": "The answer", "content": answer}, **PROBLEMS},
        openapi_extra=_PREDICT,
        operation_id="predict",
    )


def _add_infer(app: FastAPI) -> None:
    length = {"description": "Bytes of JSON before binary tensor data", "schema": _TEXT}
    ok = {
        "description": "The answer; with binary tensor data behind it where that was asked for",
        "headers": {"inference-header-content-length": length},
        "content": {_JSON: {"schema": _V2_RESPONSE}, _OCTETS: {"schema": _STREAM}},
    }
    responses: dict[int | str, dict[str, Any]] = {
        200: ok,
        **V2_ERRORS,
        **_errors(_V2_CONTENT, 504),
    }
    for path, route, name in (
        ("/v2/models/{model}/infer", _never, "v2_infer"),
        ("/v2/models/{model}/versions/{version}/infer", _never_version, "v2_infer_version"),
    ):
        app.add_api_route(
            path,
            route,
            methods=["POST"],
            summary="Answer an Open Inference Protocol V2 request",
            responses=responses,
            openapi_extra=_INFER,
            operation_id=name,
        )


PROBLEMS: Final = _errors(
    _PROBLEM_CONTENT,
    *(400, 401, 403, 404, 408, 413, 414, 415, 422, 429, 431, 500, 503, 504),
)


async def _never(model: str) -> Response:
    raise AssertionError(f"{model}: this route is served beneath FastAPI")


async def _never_version(model: str, version: str) -> Response:
    raise AssertionError(f"{model} {version}: this route is served beneath FastAPI")
