"""Which requests are answered beneath FastAPI: those for predictions."""

import re
from typing import Final

from driftloop.inference.core.engine import Engine
from driftloop.inference.explain import Explainer
from driftloop.inference.plain.predict import Predict
from driftloop.inference.v2.rest import Infer
from driftloop.inference.v2.service import V2
from driftloop.runtime.http1 import Handler, Head, Router

_INFER: Final = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer\Z")
_PREDICT: Final = re.compile(r"/v1/models/([^/]+)/predict\Z")


def router(engine: Engine, v2: V2, explainer: Explainer) -> Router:
    """The router of the hot routes."""

    def route(head: Head) -> Handler | None:
        if head.method != "POST":
            return None
        if found := _INFER.match(head.path):
            return Infer(engine, v2, head, found[1], found[2] or "")
        if found := _PREDICT.match(head.path):
            return Predict(engine, explainer, found[1])
        return None

    return route
