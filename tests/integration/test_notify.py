"""Notifications over a real NATS to real receivers: once, grouped, again after errors."""

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from driftloop.bus.bus import Bus
from driftloop.bus.messages import event_message
from driftloop.bus.provision import Layout
from driftloop.console.domain.notify import book as books
from driftloop.console.domain.notify import outages, words
from driftloop.console.domain.notify.letters import Places
from driftloop.console.domain.notify.notices import Notice
from driftloop.console.domain.notify.rules import Rules, parse
from driftloop.console.notify import keeper as keepers
from driftloop.console.notify import notifier as notifiers
from driftloop.console.notify.notifier import Notifier
from driftloop.console.notify.senders import senders
from driftloop.contracts.facts import Fact
from driftloop.contracts.headers import Origin
from driftloop.contracts.state import Silence
from driftloop.local.nats import NatsServer
from tests.support import synthetic as syn
from tests.support.certificates import certificate
from tests.support.receivers import Hook, Mailbox
from tests.support.secured import Secured, broker

__all__ = ["broker"]

DEADLINE = 15.0
PLACES = Places(console="https://console.example.org/", docs="https://docs.example.org")
RULE = """
[[rules]]
name = "all"
severity = "info"
channels = ["hook"]
group = "0s"
interval = "0s"
"""


def hook_rules(hook: Hook, rule: str = RULE, secret: str = "") -> Rules:
    return parse(
        f'[[channels]]\nname = "hook"\nkind = "webhook"\nurl = "{hook.url}"\n{secret}\n{rule}'
    )


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook().running() as made:
        yield made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts and looks follow each other quickly."""
    monkeypatch.setattr(books, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(keepers, "LOOK_SECONDS", 0.02)


@asynccontextmanager
async def notifying(bus: Bus, rules: Rules) -> AsyncIterator[Notifier]:
    """A replica that has begun to listen; it stops with its bus."""
    made = Notifier(bus, rules, senders(rules, PLACES))
    tasks = [asyncio.create_task(task) for task in made.tasks()]
    try:
        yield made
    finally:
        bus.stopping.set()
        await asyncio.wait_for(asyncio.gather(*tasks), DEADLINE)


async def until(good: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not good():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def listening(made: Notifier) -> None:
    """Until the replica owns the book and has written its position down."""
    await until(lambda: made._keeper is not None and made._keeper._term.ready)


async def came(hook: Hook, count: int) -> None:
    await asyncio.to_thread(hook.wait, count)


async def test_a_webhook_gets_the_event_in_plain_words_and_signed(
    bus: Bus, hook: Hook, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("k3y\n")
    rules = hook_rules(hook, secret=f'secret_file = "{tmp_path / "secret"}"')
    async with notifying(bus, rules) as made:
        await listening(made)
        await bus.emit(syn.alarm("flights"))
        await came(hook, 1)
    [(headers, body)] = hook.requests
    at = headers["driftloop-signature"].partition(",")[0].removeprefix("t=")
    signed = hmac.new(b"k3y", f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    assert headers["driftloop-signature"] == f"t={at},v1={signed}"
    [document] = hook.documents()
    assert headers["driftloop-message"] == document["id"]
    [notice] = document["notices"]
    assert notice["title"] == "flights: the feature temp no longer looks as it did"
    assert "moved from 0.012 to 0.183" in notice["happened"]
    assert notice["did"]
    assert notice["todo"]
    assert notice["console"] == "https://console.example.org/#/model/flights"
    assert notice["how_to"] == "https://docs.example.org/explanation/drift.md"
    assert notice["event"]["event"]["detector"] == "feature:temp"
    assert notice["event"]["id"] == syn.alarm("flights").event_id()


async def test_a_burst_is_one_message_that_says_what_the_system_did(bus: Bus, hook: Hook) -> None:
    rule = RULE.replace('group = "0s"', 'group = "1s"').replace("info", "warning")
    async with notifying(bus, hook_rules(hook, rule)) as made:
        await listening(made)
        alarms = [replace(syn.alarm("flights", n), detector=f"feature:f{n}") for n in range(4)]
        for event, origin in syn.promotion("flights", 8, alarms[0]):
            await bus.emit(event, origin)
        for alarm in alarms[1:]:
            await bus.emit(alarm)
        await came(hook, 1)
    [document] = hook.documents()
    assert len(document["notices"]) == 4
    assert document["title"].endswith("and 3 more")
    assert document["notices"][0]["did"].startswith("run-0008 began: version 8 is being trained.")


async def test_a_message_is_sent_again_after_errors_until_it_is_taken(bus: Bus, hook: Hook) -> None:
    hook.statuses = [500, 503, 429]
    async with notifying(bus, hook_rules(hook)) as made:
        await listening(made)
        await bus.emit(syn.alarm("flights"))
        await came(hook, 4)
        await until(lambda: made._keeper is not None and made._keeper.book.sent == 1)
        assert made.note() == ""
    assert len({headers["driftloop-message"] for headers, _ in hook.requests}) == 1
    assert len({body for _, body in hook.requests}) == 1


async def test_a_message_that_is_never_taken_is_given_up_and_shown_without_secrets(
    bus: Bus, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hook.statuses = [500] * books.ATTEMPTS
    before = keepers.FAILED.labels("hook")._value.get()
    async with notifying(bus, hook_rules(hook)) as made:
        await listening(made)
        await bus.emit(syn.alarm("flights"))
        await came(hook, books.ATTEMPTS)
        await until(lambda: bool(made.note()))
        told = made.note()
        await bus.emit(syn.alarm("flights", 1_000))
    assert "1 messages were given up, the last to hook: HTTP status 500" in told
    assert keepers.FAILED.labels("hook")._value.get() == before + 1
    assert "given up" in caplog.text
    assert "s3cret" not in caplog.text


async def test_what_comes_twice_in_the_log_is_told_once_by_two_replicas(
    nats_server: NatsServer, bus: Bus, hook: Hook
) -> None:
    rules, alarm = hook_rules(hook), syn.alarm("flights")
    first = await Bus.open(nats_server.url, "console", layout=Layout())
    second = await Bus.open(nats_server.url, "console")
    async with notifying(second, rules) as other:
        async with notifying(first, rules) as made:
            await until(lambda: (made._keeper or other._keeper) is not None)
            await bus.emit(alarm)
            await came(hook, 1)
        await listening(other)  # it has taken over
        again = event_message(alarm, source="drift", origin=Origin())
        await bus.publish([replace(again, headers={**again.headers, "Nats-Msg-Id": "another"})])
        await bus.emit(replace(syn.alarm("flights", 1_000), detector="feature:hour"))
        await came(hook, 2)
    await first.close()
    await second.close()
    ids = [document["notices"][0]["id"] for document in hook.documents()]
    assert ids == [alarm.event_id(), "drift.detected:flights:feature:hour:SCORED:1000:17"]


async def test_a_silenced_alarm_is_not_sent(bus: Bus, hook: Hook) -> None:
    now = time.time()
    silence = Silence(
        detector="feature:temp", by="ana", reason="known", since=now, until=now + 3_600
    )
    state = replace(syn.state("flights", 7, None), silences=(silence,))
    await bus.models.write("flights", state, 0)
    async with notifying(bus, hook_rules(hook)) as made:
        await listening(made)
        await bus.emit(syn.alarm("flights"))
        await bus.emit(replace(syn.alarm("flights", 1_000), detector="feature:hour"))
        await came(hook, 1)
    [document] = hook.documents()
    [notice] = document["notices"]
    assert notice["event"]["event"]["detector"] == "feature:hour"


async def test_a_service_that_falls_silent_is_told_and_so_is_its_return(
    bus: Bus, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "STALE_SECONDS", 1.0)
    rules = hook_rules(hook, RULE + 'kinds = ["service.out"]\nservices = ["drift"]\n')
    async with notifying(bus, replace(rules, outage_after="1.5s")) as made:
        await listening(made)
        speaking = {"drift", "console"}

        async def speak() -> None:
            while not bus.stopping.is_set():
                for name in sorted(speaking):
                    await bus.stat(syn.service(name, 1.0, 1.0))
                await asyncio.sleep(0.1)

        talk = asyncio.create_task(speak())
        speaking.discard("drift")
        await came(hook, 1)
        speaking.add("drift")
        await came(hook, 2)
        bus.stopping.set()
        await talk
    titles = [document["notices"][0]["title"] for document in hook.documents()]
    assert titles == ["drift is out", "drift is back"]


async def test_the_owner_tells_that_nats_is_away_and_back(
    nats_server: NatsServer, bus: Bus, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifiers, "LOOK_SECONDS", 0.1)
    rules = hook_rules(hook, RULE + 'kinds = ["service.*"]\nservices = ["nats"]\n')
    async with notifying(bus, replace(rules, outage_after="1s")) as made:
        await listening(made)
        nats_server.stop()
        await came(hook, 1)
        nats_server.start()
        await came(hook, 2)
    titles = [document["notices"][0]["title"] for document in hook.documents()]
    assert titles == ["nats is out", "nats is back"]


async def test_slack_gets_text_and_blocks_within_its_bounds(bus: Bus, hook: Hook) -> None:
    channel = f'[[channels]]\nname = "hook"\nkind = "slack"\nurl = "{hook.url}"\n'
    async with notifying(bus, parse(channel + RULE)) as made:
        await listening(made)
        await bus.emit(replace(syn.alarm("flights"), feature="a<b>&c"))
        await came(hook, 1)
    [document] = hook.documents()
    assert document["text"].startswith("[driftloop] warning: flights: the feature a&lt;b&gt;&amp;c")
    assert [block["type"] for block in document["blocks"]] == ["header", "section", "context"]
    section = document["blocks"][1]["text"]["text"]
    assert "*What you should do:*" in section
    assert "<https://console.example.org/#/model/flights|Console>" in section


async def test_a_mail_goes_over_tls_with_a_password(bus: Bus, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    (tmp_path / "password").write_text(Mailbox.PASSWORD)
    with Mailbox(cert, key).running() as mail:
        rules = parse(
            f'[[channels]]\nname = "hook"\nkind = "email"\nhost = "localhost"\nport = {mail.port}\n'
            f'user = "{Mailbox.USER}"\npassword_file = "{tmp_path / "password"}"\nca = "{cert}"\n'
            'sender = "driftloop@example.org"\nto = ["ops@example.org", "ana@example.org"]\n' + RULE
        )
        async with notifying(bus, rules) as made:
            await listening(made)
            await bus.emit(syn.alarm("flights"))
            await asyncio.to_thread(mail.wait, 1)
        [(to, letter)] = mail.letters
    assert to == ["ops@example.org", "ana@example.org"]
    assert letter["subject"].startswith("[driftloop] warning: flights: the feature temp")
    assert letter["message-id"].endswith("@example.org>")
    text = letter.get_content()
    assert "What you should do: Look whether the world changed" in text
    assert "Console: https://console.example.org/#/model/flights" in text


async def test_the_rights_of_the_console_are_enough(broker: Secured, hook: Hook) -> None:
    async with broker.user("console") as console, broker.user("drift") as drift:
        async with notifying(console, hook_rules(hook)) as made:
            await listening(made)
            await drift.emit(syn.alarm("flights"))
            await came(hook, 1)
            await until(lambda: made._keeper is not None and made._keeper.book.sent == 1)
        assert console.connection.denials == 0


async def test_a_book_that_cannot_be_read_is_begun_anew(bus: Bus, hook: Hook) -> None:
    await bus.emit(syn.alarm("flights", 1))
    await bus.notices.write(keepers.KEY, b"no book", 0)
    async with notifying(bus, hook_rules(hook)) as made:
        await listening(made)
        await bus.emit(syn.alarm("flights", 2))
        await came(hook, 1)
    [document] = hook.documents()
    assert document["notices"][0]["id"] == syn.alarm("flights", 2).event_id()


async def test_an_event_that_nobody_has_words_for_does_not_stop_the_others(
    bus: Bus, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_ever = words.notice

    def notice(told: Fact) -> Notice:
        if told.model == "churn":
            raise KeyError(told.id)
        return as_ever(told)

    monkeypatch.setattr(words, "notice", notice)
    async with notifying(bus, hook_rules(hook)) as made:
        await listening(made)
        await bus.emit(syn.alarm("churn"))
        await bus.emit(syn.alarm("flights"))
        await came(hook, 1)
    [document] = hook.documents()
    assert [one["model"] for one in document["notices"]] == ["flights"]
