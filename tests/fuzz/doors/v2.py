"""The Open Inference Protocol over HTTP: JSON, binary tensors, and the routes beside `infer`."""

from random import Random
from typing import Any, Final
from urllib.parse import quote

from tests.fuzz import mutate
from tests.fuzz.case import TARGET, Case, Result
from tests.fuzz.doors import bodies
from tests.fuzz.doors.ingest import post
from tests.fuzz.scene import ROWS
from tests.support.serving import matrix_of_rows

MATRIX: Final = matrix_of_rows(ROWS)
GOOD: Final[dict[str, Any]] = {
    "id": "one",
    "parameters": {"timeout": 5_000_000, "binary_data_output": False},
    "inputs": [
        {
            "name": "X",
            "shape": [3, 6],
            "datatype": "FP32",
            "data": MATRIX.ravel().tolist(),
        }
    ],
    "outputs": [{"name": "probabilities", "parameters": {"classification": 2}}],
}
COLUMNS: Final[dict[str, Any]] = {
    "inputs": [
        {"name": "distance", "datatype": "FP32", "shape": [2], "data": [1.0, 2.0]},
        {"name": "hour", "datatype": "INT64", "shape": [2], "data": [1, 2]},
        {"name": "carrier", "datatype": "BYTES", "shape": [2], "data": ["AA", "DL"]},
        {"name": "size", "datatype": "BYTES", "shape": [2], "data": ["small", "large"]},
        {"name": "fragile", "datatype": "BOOL", "shape": [2], "data": [True, False]},
        {"name": "wind", "datatype": "FP64", "shape": [2], "data": [0.5, 1.5]},
    ]
}
DATATYPES: Final = (
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "BYTES", "BF16", "X"),
)
ROUTES: Final = (
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/{}",
    "/v2/models/{}/ready",
    "/v2/models/{}/config",
    "/v2/models/{}/stats",
    "/v2/models/{}/versions/{}",
    "/v2/models/{}/versions/{}/ready",
    "/v2/repository/index",
    "/v2/repository/models/{}/load",
    "/v2/repository/models/{}/unload",
    "/v1/models/{}",
    "/openapi.json",
    "/metrics",
    "/healthz",
    "/readyz",
)
VERSIONS: Final = ("1", "2", "7", "0", "-1", "abc", "1.0", "9" * 40, "", "é", "*", "1\n")
METHODS: Final = ("GET", "GET", "POST", "POST", "HEAD", "OPTIONS", "DELETE", "PUT", "PATCH")


class V2:
    """`/v2/...`."""

    name = "http-v2"
    share = 0.15
    at_once = 6

    def make(self, random: Random) -> Case:
        """Tensors as JSON or binary, or another route."""
        kind = random.randrange(10)
        if kind < 5:
            return self._case(random, "json", *_json(random))
        if kind < 8:
            return self._case(random, "binary", *_binary(random))
        return _route(random)

    def _case(
        self, random: Random, how: str, body: bytes, headers: tuple[tuple[str, str], ...]
    ) -> Case:
        path = f"/v2/models/{bodies.in_path(random, bodies.model(random))}"
        if random.random() < 0.15:
            path += f"/versions/{quote(random.choice(VERSIONS))}"
        if random.random() < 0.1:
            told = random.choice(("5", "soon", "-1", "0", "1e99", "nan", "inf", ""))
            headers += (("request-timeout", told),)
        return Case(how=how, target=f"{path}/infer", headers=headers, body=body)

    async def send(self, scene: Any, case: Case) -> Result:
        """Ask."""
        return await post(scene, "inference", case)


def _json(random: Random) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    made = mutate.tree(random, random.choice((GOOD, GOOD, COLUMNS)))
    _retype(random, made)
    body = mutate.written(random, made)
    return (mutate.raw(random, body) if random.random() < 0.15 else body), ()


def _retype(random: Random, made: Any) -> None:
    """Now and then another datatype or shape, which a change by chance seldom hits."""
    inputs = made.get("inputs") if isinstance(made, dict) else None
    for tensor in inputs if isinstance(inputs, list) else ():
        if isinstance(tensor, dict) and random.random() < 0.2:
            tensor["datatype"] = random.choice(DATATYPES)
        if isinstance(tensor, dict) and random.random() < 0.2:
            tensor["shape"] = [random.choice(mutate.NUMBERS) for _ in range(random.randrange(4))]


def _binary(random: Random) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    data = MATRIX.tobytes()
    made = mutate.copied(GOOD)
    tensor = made["inputs"][0]
    del tensor["data"]
    tensor["parameters"] = {"binary_data_size": len(data)}
    made["parameters"]["binary_data_output"] = random.random() < 0.5
    if random.random() < 0.7:
        made = mutate.tree(random, made, 2)
        _retype(random, made)
    head = mutate.written(random, made)
    length = str(len(head))
    if random.random() < 0.3:
        length = random.choice(("0", "-1", "1", str(len(head) - 1), str(len(head) + 5), "9" * 20))
    body = head + (mutate.raw(random, data, (head,)) if random.random() < 0.5 else data)
    return body, (("inference-header-content-length", length),)


def _route(random: Random) -> Case:
    route = random.choice(ROUTES)
    names = [bodies.in_path(random, bodies.model(random)), quote(random.choice(VERSIONS))]
    path = route.format(*names[: route.count("{}")])
    if "unload" in path and random.random() < 0.7:  # it is to answer, most of the time
        path = f"/v2/repository/models/{TARGET}/load"
    body = mutate.written(random, mutate.tree(random, {"ready": True}))
    return Case(how="route", method=random.choice(METHODS), target=path, body=body)
