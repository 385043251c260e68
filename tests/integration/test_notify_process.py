"""Notifications of a console that is killed, and the rule file as its process sees it."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace

from driftloop.bus.bus import Bus
from driftloop.bus.messages import event_message
from driftloop.console.domain.notify import book as books
from driftloop.console.notify.keeper import KEY
from driftloop.contracts.headers import Origin
from driftloop.local.nats import NatsServer
from driftloop.local.ports import free_port
from driftloop.runtime.settings import environment_of_child
from tests.integration.test_notify import RULE
from tests.support import synthetic as syn
from tests.support.receivers import SECONDS, Hook


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook().running() as made:
        yield made


@pytest.fixture
def rules(hook: Hook, tmp_path: Path) -> Path:
    (tmp_path / "url").write_text(hook.url)
    file = tmp_path / "notify.toml"
    channel = f'[[channels]]\nname = "hook"\nkind = "webhook"\nurl_file = "{tmp_path / "url"}"\n'
    file.write_text(channel + RULE + 'kinds = ["drift.*"]\n')
    return file


class ConsoleProcess:
    """`python -m driftloop.console` with a rule file."""

    def __init__(self, nats_url: str, rules: Path) -> None:
        self.port = free_port()
        self._log = rules.with_suffix(".log")
        with self._log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "driftloop.console"],
                env=environment_of_child(
                    {
                        "PYTHONPATH": os.pathsep.join(sys.path),
                        "DRIFTLOOP_NATS_URL": nats_url,
                        "DRIFTLOOP_PORT": str(self.port),
                        "DRIFTLOOP_CONSOLE_NOTIFY": str(rules),
                        "DRIFTLOOP_LOG_LEVEL": "debug",
                    }
                ),
                stdout=out,
                stderr=out,
            )

    def said(self) -> str:
        return self._log.read_text()

    async def ready(self) -> None:
        async with asyncio.timeout(SECONDS), httpx.AsyncClient() as client:
            while True:
                assert self.process.poll() is None, self.said()
                with contextlib.suppress(httpx.TransportError):
                    answer = await client.get(f"http://127.0.0.1:{self.port}/readyz")
                    if answer.status_code == 200 and "owns partition 0 of 1" in self.said():
                        return
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(SECONDS)


@contextlib.contextmanager
def console(nats_server: NatsServer, rules: Path) -> Iterator[ConsoleProcess]:
    made = ConsoleProcess(nats_server.url, rules)
    try:
        yield made
    finally:
        made.kill()


async def written_down(bus: Bus) -> None:
    """Until the console has noted that a message was taken."""
    async with asyncio.timeout(SECONDS):
        sent = 0
        while not sent:
            book = books.decode((await bus.notices.read(KEY)).value)
            sent = book.sent if book else 0
            await asyncio.sleep(0.02)


async def test_what_was_sent_is_not_sent_again_after_a_kill_though_it_comes_twice(
    nats_server: NatsServer, bus: Bus, hook: Hook, rules: Path
) -> None:
    alarm, other = syn.alarm("flights"), replace(syn.alarm("flights"), detector="feature:hour")
    with console(nats_server, rules) as first:
        await first.ready()
        await bus.emit(alarm)
        await asyncio.to_thread(hook.wait, 1)
        await written_down(bus)
        first.kill()
    again = event_message(alarm, source="drift", origin=Origin())
    await bus.publish([replace(again, headers={**again.headers, "Nats-Msg-Id": "another"})])
    await bus.emit(other)
    with console(nats_server, rules) as second:
        await asyncio.to_thread(hook.wait, 2)
        assert "s3cret" not in second.said()
    ids = [notice["id"] for document in hook.documents() for notice in document["notices"]]
    assert ids == [alarm.event_id(), other.event_id()]


async def test_a_message_the_receiver_has_not_answered_comes_again_with_its_id(
    nats_server: NatsServer, bus: Bus, hook: Hook, rules: Path
) -> None:
    hook.held.set()
    with console(nats_server, rules) as first:
        await first.ready()
        await bus.emit(syn.alarm("flights"))
        await asyncio.to_thread(hook.wait, 1)
        first.kill()
    hook.held.clear()
    with console(nats_server, rules):
        await asyncio.to_thread(hook.wait, 2)
    assert len({headers["driftloop-message"] for headers, _ in hook.requests}) == 1
    assert len({body for _, body in hook.requests}) == 1


def test_a_console_with_a_bad_rule_file_does_not_start_and_says_why(
    nats_server: NatsServer, rules: Path
) -> None:
    rules.write_text(rules.read_text().replace('channels = ["hook"]', 'channels = ["hock"]'))
    with console(nats_server, rules) as refused:
        code = refused.process.wait(SECONDS)
    assert code == 2
    assert "rules[0].channels: 'hock' is no channel; accepted: hook" in refused.said()
