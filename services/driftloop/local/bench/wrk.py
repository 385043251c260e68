"""Load over HTTP by wrk: its Lua script, its run, and what it counted."""

import re
import resource
import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec

from driftloop.contracts.errors import InvalidInput
from driftloop.local.bench.bodies import Requests
from driftloop.local.bench.job import write_bodies
from driftloop.local.bench.samples import Counts

MISSING: Final = (
    "wrk: the load generator is not on the PATH; accepted: wrk 4, "
    "from your system's packages (Debian, Ubuntu: apt-get install wrk; macOS: brew install wrk)"
)
GRACE_SECONDS: Final = 20.0

# Bodies come from a file and may hold any byte: ten digits of length before each. All requests are
# made before the first is sent, so that wrk only has to hand them out.
_SCRIPT: Final = """\
local requests, at = {{}}, 0

function init(args)
  local file = assert(io.open({file}, "rb"))
  while true do
    local digits = file:read(10)
    if not digits then break end
    local body = file:read(tonumber(digits))
    requests[#requests + 1] = wrk.format("POST", nil, {{{headers}}}, body)
  end
  file:close()
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency, _)
  local failed = summary.errors
  io.write(string.format(
    '\\ncounted {{"requests":%d,"seconds":%.6f,"p50_ms":%.6f,"p99_ms":%.6f,' ..
    '"refused":%d,"broken":%d}}\\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, failed.status,
    failed.connect + failed.read + failed.write + failed.timeout))
end
"""


class _Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What the script prints; `refused` are answers with a status from 400 on."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    refused: int
    broken: int


def require() -> str:
    """The path of wrk; raises `InvalidInput` that says how to get it."""
    found = shutil.which("wrk")
    if found is None:
        raise InvalidInput(MISSING)
    return found


def prepare(folder: Path, name: str, requests: Requests) -> Path:
    """Write the bodies and the script that sends them; returns the script."""
    file, script = folder / f"{name}.bodies", folder / f"{name}.lua"
    write_bodies(file, requests.bodies)
    headers = ", ".join(f"[{_lua(k)}] = {_lua(v)}" for k, v in requests.headers.items())
    script.write_text(_SCRIPT.format(file=_lua(str(file)), headers=headers))
    return script


def run(script: Path, url: str, connections: int, seconds: float) -> Counts:
    """Load `url` for so long (in whole seconds from one on, below it for one second).

    Raises `RuntimeError` with what wrk said when it could not.
    """
    whole = max(1, round(seconds))
    before = children_cpu()
    made = subprocess.run(
        command(script, url, connections, whole),
        check=False,
        capture_output=True,
        text=True,
        timeout=whole + GRACE_SECONDS,
        start_new_session=True,
    )
    return counts(made.stdout, made.stderr, children_cpu() - before)


def command(script: Path, url: str, connections: int, seconds: int) -> list[str]:
    """The command that loads `url` for so many seconds."""
    return [require(), "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]


def counts(out: str, err: str, cpu_seconds: float) -> Counts:
    """What a run printed; raises `RuntimeError` where there is nothing to read."""
    found = re.search(r"^counted (\{.*\})$", out, flags=re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk: {' '.join((err or out).split())[:300] or 'gave nothing'}")
    told = msgspec.json.decode(found[1], type=_Counted)
    return Counts(
        requests=told.requests - told.refused,
        errors=told.refused + told.broken,
        seconds=told.seconds,
        p50_ms=told.p50_ms,
        p99_ms=told.p99_ms,
        client_cores=cpu_seconds / told.seconds,
    )


def children_cpu() -> float:
    """CPU seconds of the ended children of this process."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _lua(text: str) -> str:
    """The text as a Lua string: every byte that is not plain as its decimal escape."""
    plain = (chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03d}" for b in text.encode())
    return f'"{"".join(plain)}"'
