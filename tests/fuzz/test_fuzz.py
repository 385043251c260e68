"""Names that mean something in a subject (fault 39), and a quick part of `make fuzz`."""

from collections.abc import AsyncIterator, Callable
from typing import Final
from urllib.parse import quote

import msgspec
import pytest
import pytest_asyncio
from nats.aio.msg import Msg

from driftloop.client.client import Client
from driftloop.contracts import requests, subjects
from driftloop.contracts.errors import DriftloopError, InvalidName
from driftloop.contracts.requests import Command
from driftloop.inference.grpc_v2.schema import CLASSES
from driftloop.modelspec.check import SpecError, check
from tests.fuzz.__main__ import close
from tests.fuzz.case import Case, Door, Result
from tests.fuzz.doors import DOORS
from tests.fuzz.doors.bus import asked, on_the_wire
from tests.fuzz.doors.grpc import GrpcCalls
from tests.fuzz.http import framed
from tests.fuzz.run import Run, case_of
from tests.fuzz.scene import Scene
from tests.support.serving import mixed_spec

INPUTS: Final = 2_000
SEED: Final = 2_026
NAMES: Final = ("../x", "a.b", "*", ">", " ", "x\n", "n" * 300, "modèle", "A", "")
SUBJECTS: Final[dict[str, Callable[[str], str]]] = {
    "rows": lambda name: subjects.rows(name, "received"),
    "labels": subjects.labels,
    "scored": subjects.scored,
    "outcomes": subjects.outcomes,
    "event": lambda name: subjects.event(name, "model.promoted"),
    "stats": lambda name: subjects.stats("join", name),
    "infer": requests.infer,
    "send": lambda name: requests.send(name, "rows"),
    "command": requests.command,
}
HTTP: Final = (
    ("ingest", "POST", "/v1/models/{}/rows", b'[{"event_id": "e"}]'),
    ("ingest", "POST", "/v1/models/{}/labels", b'[{"event_id": "e"}]'),
    ("inference", "POST", "/v1/models/{}/predict", b'{"rows": [{"hour": 1}]}'),
    ("inference", "GET", "/v1/models/{}", b""),
    ("inference", "POST", "/v2/models/{}/infer", b'{"inputs": []}'),
    ("inference", "GET", "/v2/models/{}", b""),
    ("inference", "GET", "/v2/models/{}/ready", b""),
    ("inference", "GET", "/v2/models/{}/versions/1/config", b""),
    ("inference", "POST", "/v2/repository/models/{}/load", b""),
    ("inference", "POST", "/v2/repository/models/{}/unload", b""),
    ("console", "POST", "/api/models/{}/retrain", b'{"reason": "x"}'),
)
module = pytest.mark.asyncio(loop_scope="module")
fault = pytest.mark.fault(39, "names `../x`, `*`, `>` and others at each door")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """All services, for all tests of this file; the last of them fills the logs with nonsense."""
    async with Scene(tmp_path_factory.mktemp("fuzz")) as made:
        yield made


@fault
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", SUBJECTS)
def test_no_subject_is_made_of_such_a_name(what: str, name: str) -> None:
    with pytest.raises(InvalidName, match="accepted"):
        SUBJECTS[what](name)


@fault
@pytest.mark.parametrize("name", NAMES)
def test_no_model_has_such_a_name(name: str) -> None:
    spec = msgspec.structs.replace(mixed_spec(), name=name)
    with pytest.raises(SpecError, match=r"name: .* accepted"):
        check(spec)


@module
@fault
@pytest.mark.timeout(300)
async def test_every_door_refuses_such_a_name_and_publishes_nothing_under_it(scene: Scene) -> None:
    heard: list[str] = []

    async def note(message: Msg) -> None:
        heard.append(message.subject)

    tap = await scene.nc.subscribe(">", cb=note)
    await scene.nc.flush()
    sent: set[str] = set()
    for name in NAMES:
        assert await _http(scene, name) == []
        assert (await _grpc(scene, name)).kind == "refused"
        async with Client(scene.nc.connected_url.geturl()) as client:  # type: ignore[union-attr]
            with pytest.raises((InvalidName, DriftloopError), match="accepted"):
                await client.send_rows(name, [{"event_id": "e"}])
        if "." not in name:  # or it is another subject, which nobody hears
            sent |= await _nats(scene, name)
    assert await scene.good() == []
    await tap.unsubscribe()
    about = [subject for subject in heard if not subject.startswith(("$", "_INBOX"))]
    assert about
    odd = {subject for subject in about if set(subject) & set("*> \n") or "é" in subject}
    assert odd <= sent
    assert not [subject for subject in about if "n" * 300 in subject and subject not in sent]
    assert scene.trouble() == []


async def _http(scene: Scene, name: str) -> list[str]:
    """The doors that answered a request about such a model in another way than they should."""
    wrong: list[str] = []
    for service, method, path, body in HTTP:
        at = path.format(quote(name, safe=""))
        request = framed(method, at, (("content-type", "application/json"),), body)
        answer = await scene.http.ask(scene.ports[service], request)
        if answer.status not in (
            400,
            404,
            405,
            422,
        ):  # 404, 405: of `..` or nothing no path is made
            wrong.append(f"{method} {at}: {answer.status} {answer.body[:200]!r}")
    return wrong


async def _grpc(scene: Scene, name: str) -> Result:
    message = CLASSES["ModelInferRequest"](model_name=name).SerializeToString()
    return await GrpcCalls().send(scene, Case(how="ModelInfer", target="\0", body=message))


async def _nats(scene: Scene, name: str) -> set[str]:
    """Ask over NATS, where such a name can be asked at all; the subjects that were asked."""
    token = on_the_wire(name)
    command = msgspec.msgpack.encode(Command(command="retrain", by="test"))
    subjects_asked = {
        f"infer.{token}": b'{"rows": [{"hour": 1}]}',
        f"ingest.{token}.rows": b"x",
        f"ingest.{token}.labels": b"x",
        f"command.{token}": command,
    }
    for subject, body in subjects_asked.items():
        result = await asked(scene, Case(how="name", target=subject, body=body))
        assert result == Result("refused"), (subject, result)
    return set(subjects_asked)


@module
@pytest.mark.timeout(300)
async def test_wrong_inputs_at_every_door_do_no_harm(scene: Scene) -> None:
    doors: list[Door] = [door() for door in DOORS]
    run = Run(scene, doors, SEED, INPUTS, every=1_000)
    try:
        await run.go()
    finally:
        await close(doors)
    told = [f"{found.door} {found.first}: {found.problem}" for found in run.findings]
    assert told == [], "\n".join(told)
    assert run.sent == INPUTS
    assert all(tally.sent == tally.wanted > 0 for tally in run.tallies.values())


@pytest.mark.parametrize("made", DOORS, ids=lambda made: made.name)
def test_a_seed_and_a_number_make_the_same_input_again(made: type[Door]) -> None:
    first, again = ([case_of(made(), 7, number) for number in range(40)] for _ in range(2))
    assert first == again
    assert len({case.body + case.target.encode("utf-8", "replace") for case in first}) > 20
