"""Asks and loads one server: by wrk, or by a client process of ours."""

import http.client
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from driftloop.local.bench import answers, bodies, job, wrk
from driftloop.local.bench.job import Job
from driftloop.local.bench.models import Fitted
from driftloop.local.bench.samples import Counts
from driftloop.local.bench.targets import Target
from driftloop.local.bench.workloads import PACE, Encoding, Workload

CLIENTS: Final = {"nats": "loadnats", "grpc": "loadgrpc", "paced": "loadpaced"}
VERIFIED: Final = 4
"""Requests whose answers are compared before each load."""
ASK_SECONDS: Final = 5.0


class Load:
    """The requests of one workload to one server, ready to be sent."""

    def __init__(self, workload: Workload, target: Target, model: Fitted, folder: Path) -> None:
        self.workload = workload
        self.target = target
        self._model = model
        self.encoding = _encoding(workload, target)
        groups = model.groups(workload.bodies, workload.rows)
        self._requests = bodies.requests(self.encoding, model.name, groups)
        name = f"{workload.name}-{target.name}".replace("/", "-")
        if workload.kind == "wrk":
            self._file = wrk.prepare(folder, name, self._requests)
        else:
            self._file = folder / f"{name}.bodies"
            job.write_bodies(self._file, self._requests.bodies)

    def run(self, seconds: float) -> Counts:
        """Load the server for so long; raises `RuntimeError` where the client could not."""
        workload = self.workload
        if workload.kind == "wrk":
            return wrk.run(self._file, self.target.address.url, workload.in_flight, seconds)
        return job.run(CLIENTS[workload.kind], self._job(seconds=seconds))

    def verify(self) -> str:
        """Ask the first requests; why the answers are not scikit-learn's, or an empty text.

        Raises `RuntimeError` or `OSError` when there is no answer.
        """
        for group, (headers, body) in enumerate(self.ask(VERIFIED)):
            if self.target.constant:
                continue
            rows = self.workload.rows
            try:
                found = answers.numbers(self.encoding, headers, body, rows)
            except answers.Unreadable as error:
                return str(error)
            if why := answers.differs(found, self._model.expected(group, rows)):
                return why
        return ""

    def ask(self, count: int) -> list[tuple[Mapping[str, str], bytes]]:
        """Headers and bodies of the answers to the first `count` requests."""
        module = CLIENTS.get(self.workload.kind)
        if module in ("loadnats", "loadgrpc"):
            return [({}, body) for body in job.ask(module, self._job(ask=count))]
        return [self._post(body) for body in self._requests.bodies[:count]]

    def _job(self, *, seconds: float = 0.0, ask: int = 0) -> Job:
        return Job(
            address=self.target.address.url,
            subject=self.target.address.subject,
            headers={k.lower(): v for k, v in self._requests.headers.items()},
            bodies=str(self._file),
            in_flight=self.workload.in_flight,
            seconds=seconds,
            rate=PACE,
            ask=ask,
        )

    def _post(self, body: bytes) -> tuple[Mapping[str, str], bytes]:
        url = urlsplit(self.target.address.url)
        line = http.client.HTTPConnection(url.hostname or "", url.port or 80, timeout=ASK_SECONDS)
        try:
            path = (url.path or "/") + (f"?{url.query}" if url.query else "")
            line.request("POST", path, body, self._requests.headers)
            got = line.getresponse()
            said = got.read()
        finally:
            line.close()
        if got.status != 200:
            raise RuntimeError(f"{self.target.name}: answered {got.status}: {said[:200]!r}")
        return {name.lower(): value for name, value in got.getheaders()}, said


def _encoding(workload: Workload, target: Target) -> Encoding:
    """Servers that read V2 get the workload's own encoding, the others theirs."""
    return (
        workload.encoding
        if target.address.encoding in ("v2", "constant")
        else (target.address.encoding)
    )
