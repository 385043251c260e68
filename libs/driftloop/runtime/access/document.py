"""The OpenAPI document says which routes need a token, with which scopes, and how they refuse."""

import re
from typing import Any, Final

from fastapi import FastAPI

from driftloop.runtime.access.rules import Rules
from driftloop.runtime.problems import MEDIA_TYPE

SCHEME: Final = "token"
_CONVERTER: Final = re.compile(r":\w+\}")
"""What a path says of a parameter's form, as in `{id:path}`; OpenAPI's paths do not."""
TEXTS: Final = {
    "401": "No token, or one that is not known, is revoked or has expired",
    "403": "The token has no scope for this",
    "404": "No such model, or none that the token is for",
    "413": "The body is larger than the token's, or this service's, bound",
    "429": "The token is over its rate; try again after Retry-After",
}
_TEXT: Final = {"type": "string"}
_PROBLEM: Final = {
    "type": "object",
    "properties": {"title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT},
    "required": ["title", "status", "detail"],
}
_CONTENT: Final = {MEDIA_TYPE: {"schema": _PROBLEM}}


def refusal(text: str) -> dict[str, Any]:
    """A refusal as problem details, for the `responses` of a route."""
    return {"description": text, "content": _CONTENT}


def document(app: FastAPI, rules: Rules) -> None:
    """Add the scheme, each route's scopes, and the refusals its own description does not have."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        fresh = app.openapi_schema is None
        made = plain()
        if fresh:
            _add(made, rules)
        return made

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's pages say it is extended


def _add(made: dict[str, Any], rules: Rules) -> None:
    scheme = {"type": "http", "scheme": "bearer", "description": "`driftloop token create`"}
    made.setdefault("components", {}).setdefault("securitySchemes", {})[SCHEME] = scheme
    told = {_CONVERTER.sub("}", key): rule for key, rule in rules.items()}
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            rule = told[f"{method.upper()} {path}"]
            if not rule.scopes:
                operation["security"] = []
                continue
            operation["security"] = [{SCHEME: sorted(rule.scopes)}]
            for status, text in TEXTS.items():
                if status != "404" or rule.models == "one":
                    operation.setdefault("responses", {}).setdefault(status, refusal(text))
