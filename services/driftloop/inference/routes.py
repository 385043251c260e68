"""Which requests are answered beneath FastAPI: those for predictions."""

import re
from typing import Final

from driftloop.inference.core.engine import Engine
from driftloop.inference.explain import Explainer
from driftloop.inference.http import RULES
from driftloop.inference.plain.predict import Predict
from driftloop.inference.v2.rest import Infer
from driftloop.inference.v2.service import V2
from driftloop.runtime.access import Access
from driftloop.runtime.http1 import Handler, Head, Router

INFER: Final = ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer")
PREDICT: Final = "/v1/models/{model}/predict"


def router(engine: Engine, v2: V2, explainer: Explainer, access: Access) -> Router:
    """The router of the hot routes, each with the rule it has as one of the service's routes."""
    hot = [(_pattern(path), RULES[f"POST {path}"].scopes, path) for path in (*INFER, PREDICT)]

    def route(head: Head) -> Handler | None:
        if head.method != "POST":
            return None
        for pattern, scopes, path in hot:
            if found := pattern.match(head.path):
                named = found.groupdict()
                enter = access.entrance(head.get(b"authorization"), scopes, named["model"])
                if path == PREDICT:
                    return Predict(engine, explainer, named["model"], enter)
                version = named.get("version", "")
                return Infer(engine, v2, head, named["model"], version, enter)
        return None

    return route


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path) + r"\Z")
