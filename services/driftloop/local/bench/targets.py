"""The servers under load: ours, the peers, and those somebody else runs."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, get_args
from urllib.parse import urlsplit

import msgspec

from driftloop.contracts.errors import InvalidInput
from driftloop.local.bench import processes
from driftloop.local.bench.workloads import Encoding, Workload

PEERS: Final = Path(__file__).with_name("peers")
STYLES: Final = ("v2", "rows", "instances", "named", "grpc")
"""How a server of somebody else reads rows; what each is stands in the how-to page."""


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server is asked, and in which encoding; `subject` with NATS only."""

    url: str
    encoding: Encoding
    subject: str = ""


class Target:
    """A server. With a command it is ours to start and end; else only to pause, if `pid` is told.

    `constant` servers answer the same to everything: there is nothing to verify.
    """

    def __init__(
        self,
        name: str,
        address: Address,
        command: tuple[str, ...] = (),
        *,
        settings: Mapping[str, str] | None = None,
        log: Path = Path(),
        constant: bool = False,
        pid: int = 0,
    ) -> None:
        self.name = name
        self.address = address
        self.constant = constant
        self.pid = pid
        self.ours = bool(command)
        self._command = command
        self._settings = settings
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, if it is ours to start."""
        if self.ours:
            self._process = processes.start(self._command, self._log, self._settings)
            self.pid = self._process.pid

    def check(self) -> None:
        """Raise `RuntimeError` with its last words if the process has ended."""
        if self._process is not None and self._process.poll() is not None:
            said = processes.last_words(self._log)
            code = self._process.returncode
            raise RuntimeError(f"{self.name}: ended with exit code {code}: {said}")

    def silent(self, error: Exception) -> str:
        """That it does not answer, with its last words if it is ours."""
        said = f" ({processes.last_words(self._log)})" if self.ours else ""
        return f"{self.name}: does not answer: {error}{said}"

    def pause(self, *, paused: bool) -> None:
        """Stop its processes for a while, or let them go on."""
        if self.pid:
            processes.pause(self.pid, paused=paused)

    def stop(self) -> None:
        """End what was started here; let go on what was not."""
        if self._process is not None:
            processes.stop(self._process)
            self._process, self.pid = None, 0
        else:
            self.pause(paused=False)


def peer(script: str, *arguments: object) -> tuple[str, ...]:
    """The command that starts one of the peers."""
    return (sys.executable, str(PEERS / f"{script}.py"), *map(str, arguments))


def given(text: str) -> Target:
    """A running server from `NAME=STYLE=URL[=PID]`; raises `InvalidInput`."""
    name, _, rest = text.partition("=")
    style, _, url = rest.partition("=")
    front, _, last = url.rpartition("=")
    pid = int(last) if front and last.isdigit() else 0
    url = front if pid else url
    accepted = "NAME=STYLE=URL[=PID]"
    found = next((one for one in get_args(Encoding) if one == style), None)
    if not name or found is None or style not in STYLES:
        raise InvalidInput(
            f"target: {text!r} has the style {style!r}; accepted: {accepted}, "
            f"STYLE one of {', '.join(STYLES)}"
        )
    address = _address(text, found, url)
    if pid and not processes.family(pid):
        raise InvalidInput(
            f"target: {text!r}: no process has the id {pid}; accepted: a running one"
        )
    return Target(name, address, pid=pid)


def _address(text: str, encoding: Encoding, url: str) -> Address:
    """Where a target that reads an encoding is asked."""
    scheme = "grpc" if encoding == "grpc" else "http"
    found = urlsplit(url)
    if found.scheme != scheme or not found.hostname:
        where = "HOST:PORT" if scheme == "grpc" else "address that rows are posted to"
        raise InvalidInput(
            f"target: {text!r} has the URL {url!r}; accepted: NAME=STYLE=URL[=PID], "
            f"URL the {scheme}:// {where}"
        )
    return Address(url=found.netloc if scheme == "grpc" else url, encoding=encoding)


def fits(target: Target, workload: Workload) -> bool:
    """Whether a server that somebody runs can take a workload: one of its protocol it reads."""
    if "grpc" in (workload.kind, target.address.encoding):
        return workload.kind == target.address.encoding
    if workload.kind not in ("wrk", "paced") or workload.encoding == "arrow" or workload.alone:
        return False
    return workload.encoding != "v2-binary" or target.address.encoding == "v2"
