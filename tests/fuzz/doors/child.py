"""Files: specs and ONNX models, read in a process of their own that may die of them."""

import asyncio
import contextlib
import os
import struct
import sys
from functools import cache
from random import Random
from typing import Any

import onnx
from onnx import TensorProto, helper

from driftloop.runtime.settings import environment_of_child
from tests.fuzz import mutate
from tests.fuzz.case import SECONDS, Case, Result
from tests.support.tiny_models import classifier, regressor
from tests.support.world import spec_text


class Reader:
    """The process that reads one kind of file; started again when it has died."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def read(self, data: bytes) -> Result:
        """What came of a file."""
        async with self._turn:
            if self._process is None or self._process.returncode is not None:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "tests.fuzz.reader", self._what,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                    env=environment_of_child({"PYTHONPATH": os.pathsep.join(sys.path)}),
                )  # fmt: skip
            return await self._ask(self._process, data)

    async def _ask(self, process: asyncio.subprocess.Process, data: bytes) -> Result:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(SECONDS):
                process.stdin.write(struct.pack("<I", len(data)) + data)
                await process.stdin.drain()
                size = struct.unpack("<I", await process.stdout.readexactly(4))[0]
                told = (await process.stdout.readexactly(size)).decode()
        except (asyncio.IncompleteReadError, ConnectionError):
            code = await process.wait()
            return Result("closed", f"the process died with exit code {code}")
        except TimeoutError:
            process.kill()
            await process.wait()
            return Result("closed", f"not read within {SECONDS:g} s")
        if told.startswith("BUG"):
            return Result("refused", told)
        return Result("taken" if told == "taken" else "refused")

    async def close(self) -> None:
        """End it."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


class _Files:
    """What both doors do."""

    what: str
    at_once = 1

    def __init__(self) -> None:
        self._reader = Reader(self.what)

    async def send(self, scene: Any, case: Case) -> Result:
        """Read it."""
        return await self._reader.read(case.body)

    async def close(self) -> None:
        """End the process."""
        await self._reader.close()


WORDS = (
    "inf", "nan", "-1", "0", "1e999", "99999999999999999999999", "true", '""', "[]", "{}", "[[]]",
    '"../x"', '"x\\n"', '"9999999999999d"', '"1d"', '"-1h"', "2024-01-01", "1979-05-27T07:32:00Z",
    '"\\ud800"', "'''a", '"sklearn.svm.SVC"', '"os:system"', '"default\\n"', "0x1F", "1_000",
    '"2000-13-01"', '"0000-01-01"', '"9999-12-31"', '"' + "x" * 5_000 + '"',
)  # fmt: skip


class Specs(_Files):
    """A spec in TOML, as `driftloop spec check FILE` reads it."""

    name = "spec-files"
    share = 0.03
    what = "spec"

    def make(self, random: Random) -> Case:
        """Values and lines of a good spec changed, or its bytes."""
        lines = spec_text("world").split("\n")
        for _ in range(random.randint(0, 4)):
            at = random.randrange(len(lines))
            match random.randrange(6):
                case 0:
                    del lines[at]
                case 1:
                    lines.insert(at, random.choice(lines))
                case 2:
                    lines.insert(at, random.choice(("[training]", "[x]", "a.b.c = 1", "[[a.b]]")))
                case 3:
                    lines.insert(at, "a = " + "[" * random.choice((10, 500, 5_000)))
                case _:
                    key = lines[at].partition("=")[0]
                    lines[at] = f"{key.strip() or 'name'} = {random.choice(WORDS)}"
            lines = lines or [""]
        body = "\n".join(lines).encode("utf-8", "surrogatepass")
        if random.random() < 0.3:
            body = mutate.raw(random, body)
        return Case(how="toml", body=body)


@cache
def _models() -> tuple[bytes, ...]:
    """Real models, and crafted ones: tensors elsewhere, strange operators, loops, absurd shapes."""
    real = (classifier().onnx, regressor().onnx)
    return (*real, *(made.SerializeToString() for made in _crafted()))


def _crafted() -> list[Any]:
    number = TensorProto.FLOAT
    given = helper.make_tensor_value_info("X", number, [None, 3])
    out = helper.make_tensor_value_info("Y", number, [None, 1])

    def model(nodes: list[Any], tensors: list[Any] | None = None, domain: str = "") -> Any:
        graph = helper.make_graph(nodes, "g", [given], [out], tensors or [])
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, 18)])
        made.ir_version = 8
        return made

    weight = helper.make_tensor("W", number, [3, 1], [1.0, 2.0, 3.0])
    outside = onnx.TensorProto()
    outside.CopyFrom(weight)
    outside.ClearField("float_data")
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="../../../etc/passwd")
    huge = helper.make_tensor("S", TensorProto.INT64, [2], [1 << 20, 1 << 20])
    fill = helper.make_node("ConstantOfShape", ["S"], ["Z"])
    total = helper.make_node("ReduceSum", ["Z"], ["Y"], keepdims=1)
    absurd = helper.make_tensor("W", number, [3, 1], [1.0, 2.0, 3.0])
    absurd.dims[:] = [1 << 40, 1]
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", number, None),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", number, None),
        ],
    )
    trips = helper.make_tensor("M", TensorProto.INT64, [], [1_000])
    on = helper.make_tensor("C", TensorProto.BOOL, [], [True])
    return [
        model([helper.make_node("MatMul", ["X", "W"], ["Y"])], [weight]),
        model([helper.make_node("MatMul", ["X", "W"], ["Y"])], [outside]),
        model([helper.make_node("MatMul", ["X", "W"], ["Y"])], [absurd]),
        model([helper.make_node("Strange", ["X"], ["Y"], domain="com.microsoft")]),
        model([helper.make_node("Strange", ["X"], ["Y"])]),
        model([fill, total], [huge]),
        model([helper.make_node("Loop", ["M", "C", "X"], ["Y"], body=body)], [trips, on]),
    ]


class Onnx(_Files):
    """A model's bytes, as inference loads them."""

    name = "onnx-files"
    share = 0.03
    what = "onnx"

    def make(self, random: Random) -> Case:
        """A real or crafted model with changed bytes; sometimes as it is."""
        models = _models()
        at = random.randrange(len(models))
        body = models[at]
        if random.random() < 0.95:
            body = mutate.raw(random, body, models, 3)
        return Case(how=f"model {at}", body=body)
