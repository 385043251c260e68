"""Commands that ask the console, against a real one and a real registry."""

import asyncio
import contextlib
import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import httpx
import msgspec
import pytest
import pytest_asyncio

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.cli import main as command
from driftloop.contracts import tokens
from driftloop.contracts.events import RunFinished
from driftloop.local.nats import NatsServer
from driftloop.local.up import register
from driftloop.runtime.settings import environment_of_child
from tests.support import synthetic as syn
from tests.support.access import made
from tests.support.accounting import ready, system
from tests.support.flows import Process, eventually, held
from tests.support.loop import spec
from tests.support.processes import COMMAND

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECONDS = 60.0
MODELS = ("flights", "churn", "parcels")
SCRIPT = Path(sys.executable).parent / "driftloop"
"""As it is installed: completion goes by the name of the program."""


class World(NamedTuple):
    """The bus, the NATS server's address, and a console without and one with tokens."""

    bus: Bus
    url: str
    console: Process
    guarded: Process

    async def tell(self, *arguments: str, **variables: str) -> tuple[int, str, str]:
        """What a command says: exit code, standard output and standard error."""
        given = {"DRIFTLOOP_CONSOLE": self.console.base, **variables}
        return await asyncio.to_thread(run, arguments, given)

    async def complete(self, line: str, console: str) -> tuple[list[str], str]:
        """What bash would offer at the end of a line, and what goes wrong."""
        given = {
            "DRIFTLOOP_CONSOLE": console,
            "_DRIFTLOOP_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        }
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            SCRIPT, stdout=pipe, stderr=pipe, env=environment(**given)
        )
        out, err = await asyncio.wait_for(child.communicate(), SECONDS)
        return out.decode().split(), err.decode()

    async def knows_all(self) -> bool:
        """Whether the console has seen all models."""
        async with httpx.AsyncClient(base_url=self.console.base) as http:
            return len((await http.get("/api/overview")).json()["cards"]) == len(MODELS)

    async def asked(self, model: str) -> list[tuple[str, str, str]]:
        """What operators asked for, who and why."""
        found = await held(self.bus, "EVENTS", f"events.{model}.operator.requested")
        events: list[Any] = [message.event() for message in found]
        return [(one.command, one.by, one.reason) for one in events]


def run(arguments: tuple[str, ...], variables: dict[str, str]) -> tuple[int, str, str]:
    """Run a command in this process, as `main` does, but for the tests of terminals."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["driftloop", *arguments]),
        mock.patch.dict(os.environ, variables),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            command.main()
        except SystemExit as ended:
            return int(ended.code or 0), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def environment(**variables: str) -> dict[str, str]:
    """That of a command: a terminal of no size of its own, and these variables."""
    own = {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm-256color"}
    mine = {k: v for k, v in environment_of_child(own).items() if k not in ("COLUMNS", "LINES")}
    return mine | variables


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A broker, the registry, two consoles, a model with a champion and two without."""
    folder = tmp_path_factory.mktemp("console")
    server = NatsServer(folder / "nats", port=0)
    server.start()
    bus = await Bus.open(server.url, "test", layout=Layout(log_gb=1.0))
    try:
        async with system(server.url, folder, ("registry", "telemetry", "console")) as services:
            needed = {"DRIFTLOOP_CONSOLE_TOKENS": "required"}
            guarded = Process("console", server.url, folder / "guarded.log", needed)
            guarded.start()
            try:
                await ready({"guarded": guarded})
                await _models(bus)
                there = World(bus, server.url, services["console"], guarded)
                await eventually(there.knows_all, "the console knows all models")
                yield there
            finally:
                guarded.stop()
    finally:
        await bus.close()
        server.stop()


async def _models(bus: Bus) -> None:
    for name in MODELS:
        await register(bus, [spec(name=name)], by="test")
    running = msgspec.structs.replace(syn.run(8), deadline=time.time() + 86_400)
    state = syn.state("flights", 7, running)
    await bus.models.write("flights", state, (await bus.models.read("flights")).revision)
    for event, origin in syn.promotion("flights", 7):
        await bus.emit(event, origin)
    await bus.emit(
        RunFinished(
            model="flights",
            run="run-0007",
            trigger="drift",
            version=7,
            verdict="promoted",
            reason="better",
        )
    )


async def test_a_loop_is_paused_and_resumed_by_way_of_the_console(world: World) -> None:
    code, out, err = await world.tell("pause", "churn", "--reason", "repair", "--by", "ann")
    assert (code, out, err) == (0, "the loop of churn is paused\n", "")
    code, out, err = await world.tell("pause", "churn", "--reason", "repair", "--by", "bob")
    assert (code, out) == (2, "")
    assert err.startswith("pause: paused by ann since ")
    code, out, _ = await world.tell("status", "--url", world.url)
    assert "paused by ann: repair" in out
    code, out, _ = await world.tell("resume", "churn", "--reason", "mended", "--json")
    assert (code, msgspec.json.decode(out)["text"]) == (0, "the loop of churn goes on")
    asked = await world.asked("churn")
    assert asked[0] == ("pause", "ann", "repair")
    assert (asked[1][0], asked[1][2]) == ("resume", "mended")


async def test_without_a_console_the_registry_is_asked_over_nats(world: World) -> None:
    arguments = ("pause", "parcels", "--reason", "dark", "--url", world.url)
    code, out, _ = await world.tell(*arguments, DRIFTLOOP_CONSOLE="http://127.0.0.1:9")
    assert (code, out) == (0, "the loop of parcels is paused\n")
    assert [its[::2] for its in await world.asked("parcels")] == [("pause", "dark")]


async def test_alarms_are_silenced_for_a_while_and_heard_again(world: World) -> None:
    silence = ("silence", "flights", "--reason", "known")
    code, out, _ = await world.tell(*silence, "--detector", "a", "--for", "2h")
    assert (code, out.startswith("alarms of a of flights are silenced until ")) == (0, True)
    state = (await world.bus.models.read("flights")).value
    assert state is not None
    [its] = state.silences
    assert (its.detector, its.reason, round(its.until - its.since)) == ("a", "known", 7_200)
    code, out, _ = await world.tell(*silence, "--detector", "a", "--end")
    assert (code, out) == (0, "alarms of a of flights are heard again\n")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("pause", "gone", "--reason", "x"), 2, "model: 'gone' is not registered; accepted: "),
        (("pause", "churn"), 2, "Missing option '--reason'"),
        (("pause", "churn", "--reason", " "), 2, "--reason: is empty; accepted: why"),
        (("pause", "a.b", "--reason", "x"), 2, "'a.b' is not a model name"),
        (("resume", "flights", "--reason", "x"), 2, "resume: the loop of flights is not paused"),
        (("silence", "churn", "--reason", "x", "--for", "2x"), 2, "--for: '2x' is not a duration"),
        (("silence", "churn", "--reason", "x", "--for", "31d"), 2, "seconds: 2.6784e+06 is no"),
        (("runs", "show", "run-none"), 2, "run-none"),
        (("diff", "flights", "7", "99"), 2, "99"),
        (("top", "--once", "--console", "http://127.0.0.1:9"), 3, "no console answers at http://1"),
        (("top", "--once", "--console", "127.0.0.1:9"), 2, "--console: '127.0.0.1:9' is no addr"),
    ],
)
async def test_what_cannot_be_done_ends_with_a_code_and_says_what_is_accepted(
    world: World, arguments: tuple[str, ...], code: int, said: str
) -> None:
    got, out, err = await world.tell(*arguments)
    assert (got, out) == (code, ""), err
    assert said in re.sub(r"[│\s]+", " ", err)


async def test_a_token_is_needed_its_scope_counts_and_it_is_named(world: World) -> None:
    reads, may_read = made("reader", "read")
    acts, may_act = made("nightshift", "operate")
    for token in (reads, acts):
        await world.bus.ask(tokens.ask("create"), msgspec.msgpack.encode(token))

    async def known() -> bool:
        async with httpx.AsyncClient(base_url=world.guarded.base) as http:
            return (await http.get("/api/state", headers=may_read)).status_code == 200

    await eventually(known, "the tokens are known")
    console = {"DRIFTLOOP_CONSOLE": world.guarded.base}
    silence = ("silence", "flights", "--reason", "known", "--by", "somebody else")
    code, _, err = await world.tell(*silence, **console)
    assert (code, err) == (1, "--token: is missing; accepted: Bearer and a token\n")
    secret = may_read["authorization"].removeprefix("Bearer ")
    code, _, err = await world.tell(*silence, **console, DRIFTLOOP_TOKEN=secret)
    assert (code, "--token: token reader: has the scope read; accepted: operate" in err) == (
        1,
        True,
    )
    secret = may_act["authorization"].removeprefix("Bearer ")
    code, _, err = await world.tell(*silence, "--token", secret, **console)
    assert (code, err) == (0, "")
    assert (await world.asked("flights"))[-1] == ("silence", "token nightshift", "known")


async def test_a_run_is_shown_with_its_stages_and_what_led_to_what(world: World) -> None:
    code, out, err = await world.tell("runs", "show", "run-0007")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "run-0007 of flights, version 7: promoted", out
    assert "Began " in lines[1]
    stages = {
        line.split()[0]: line.split()[1] for line in lines if line.startswith(("train", "gate"))
    }
    assert stages == {"train": "done", "gate": "done"}
    led = [line for line in lines if "model.promoted" in line or "drift.detected" in line]
    assert [line.split()[2] for line in led] == ["drift.detected", "model.promoted"]
    code, out, _ = await world.tell("runs", "show", "run-0007", "--json")
    assert msgspec.json.decode(out)["run"]["id"] == "run-0007"


async def test_runs_are_listed_with_and_without_the_word(world: World) -> None:
    url = ("--url", world.url)
    for arguments in (("runs", "flights"), ("runs", "list", "flights"), ("runs",)):
        code, out, err = await world.tell(*arguments, *url, "--json")
        assert (code, err) == (0, ""), arguments
        assert [run["id"] for run in msgspec.json.decode(out)] == ["run-0008"], arguments
    code, out, _ = await world.tell("runs", "--help")
    assert (code, "show" in out, "list" in out) == (0, True, True)


async def test_two_versions_are_compared(world: World) -> None:
    code, out, err = await world.tell("diff", "flights", "6", "7")
    assert (code, err) == (0, "")
    assert out.startswith("Versions 6 and 7 of flights\n")
    assert "in common: OUTCOMES " in out
    assert "model_sha256" in out
    code, out, _ = await world.tell("diff", "flights", "6", "7", "--json")
    assert [msgspec.json.decode(out)[side] for side in "ab"] == [6, 7]


async def test_top_once_prints_models_services_and_events(world: World) -> None:
    code, out, err = await world.tell("top", "--once")
    assert (code, err) == (0, "")
    assert out.startswith("driftloop 3 models, ")
    for told in ("flights", "churn", "parcels", "registry", "model.promoted"):
        assert told in out


async def test_names_of_models_are_completed_from_the_console(world: World) -> None:
    for line, names in (
        ("driftloop pause f", ["flights"]),
        ("driftloop why ", ["churn", "flights", "parcels"]),
        ("driftloop runs list p", ["parcels"]),
        ("driftloop sile", ["silence"]),
    ):
        assert await world.complete(line, world.console.base) == (names, ""), line
    assert await world.complete("driftloop why ", "http://127.0.0.1:9") == ([], "")


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, columns: int, lines: int, arguments: tuple[str, ...], console: str) -> None:
        self._own, theirs = pty.openpty()
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(DRIFTLOOP_CONSOLE=console),
            start_new_session=True,
            # A shell lets what it starts in the background ignore Ctrl-C: these tests, perhaps.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        os.set_blocking(self._own, False)
        self._said = b""

    @property
    def picture(self) -> str:
        """The last whole picture, without colours."""
        with contextlib.suppress(BlockingIOError, OSError):
            while more := os.read(self._own, 1 << 16):
                self._said += more
        frames = [
            one for one in self._said.decode(errors="replace").split("\x1b[H") if "q quits" in one
        ]
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", frames[-1]).replace("\r", "") if frames else ""

    def press(self, key: bytes) -> None:
        """Press a key."""
        os.write(self._own, key)

    def close(self) -> None:
        """Whatever happened, leave nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._own)
        os.close(self.theirs)


@contextlib.contextmanager
def terminal(columns: int, lines: int, *arguments: str, console: str) -> Iterator[Terminal]:
    """A command in a terminal of a size."""
    made = Terminal(columns, lines, arguments, console)
    try:
        yield made
    finally:
        made.close()


async def ended(process: subprocess.Popen[bytes]) -> int:
    """The exit code, once there is one."""
    return await asyncio.to_thread(process.wait, SECONDS)


async def test_top_shows_what_happens_in_80_columns_until_q_is_pressed(world: World) -> None:
    with terminal(80, 24, "top", console=world.console.base) as seen:

        async def shows(text: str) -> None:
            async def true() -> bool:
                assert seen.process.poll() is None, seen.picture
                return text in seen.picture

            await eventually(true, f"the picture has {text!r}")

        await shows("flights")
        await world.bus.emit(syn.alarm("churn", 4_711))
        await shows("drift.detected")
        picture = seen.picture.split("\n")
        assert max(map(len, picture)) <= 80
        assert len(picture) <= 24
        seen.press(b"q")
        assert await ended(seen.process) == 0
        assert termios.tcgetattr(seen.theirs) == seen.before, "the terminal is as it was"


async def test_top_says_that_the_console_is_gone_and_goes_on_when_it_is_back(
    world: World, tmp_path: Path
) -> None:
    console = Process("console", world.url, tmp_path / "console.log")
    console.start()
    try:
        await ready({"console": console})
        await _top_is_without_a_console_for_a_while(console)
    finally:
        console.stop()


async def _top_is_without_a_console_for_a_while(console: Process) -> None:
    with terminal(100, 24, "top", console=console.base) as seen:

        async def shows(text: str, *, wanted: bool = True) -> None:
            async def true() -> bool:
                assert seen.process.poll() is None, seen.picture
                return (text in seen.picture) == wanted

            await eventually(true, f"the picture has {text!r}: {wanted}")

        await shows("3 models")
        console.kill()
        await shows("No console since")
        console.start()
        await ready({"console": console})
        await shows("No console since", wanted=False)
        seen.process.send_signal(signal.SIGINT)
        assert await ended(seen.process) == 130
        assert termios.tcgetattr(seen.theirs) == seen.before


async def test_the_table_of_commands_loads_nothing_heavy() -> None:
    heavy = ("httpx", "pyarrow", "numpy", "nats", "fastapi", "pandas")
    code = (
        "import sys; from driftloop.cli.main import make; make();"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    found = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, env=environment(), check=True
    )
    assert found.stdout.decode().strip() == "[]"
