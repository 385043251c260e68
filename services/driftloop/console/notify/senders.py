"""Sends one message over one channel: HTTP or SMTP. Nothing here says an address or a secret."""

import asyncio
import hashlib
import hmac
import logging
import smtplib
import ssl
import time
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from driftloop.console.domain.notify import letters
from driftloop.console.domain.notify.book import Message
from driftloop.console.domain.notify.channels import (
    Channel,
    Email,
    Slack,
    Webhook,
    check_url,
)
from driftloop.console.domain.notify.letters import Places
from driftloop.console.domain.notify.rules import Rules, parse
from driftloop.contracts.errors import DriftloopError, InvalidInput
from driftloop.runtime.secrets import secret

SECONDS: Final = 10.0
SIGNATURE: Final = "Driftloop-Signature"
"""`t=SECONDS,v1=HEX`: HMAC with SHA-256 over the seconds, a dot, and the body."""
IDENTITY: Final = "Driftloop-Message"
"""The message's id: the same in every attempt."""
JSON: Final = "application/json"
LINES: Final = SMTP.clone(max_line_length=900)
"""A subject is one line; longer ones are split, as mail servers want it."""
for _loud in ("httpx", "httpcore"):  # their lines hold the URL, which may be a secret
    logging.getLogger(_loud).setLevel(logging.WARNING)


class NotSent(DriftloopError):
    """A message was not taken; `wait` is what the receiver asks for (seconds)."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


class Sender:
    """One channel with its secrets, which are read once."""

    def __init__(self, channel: Channel, places: Places) -> None:
        where = f"channel {channel.name}"
        self.channel = channel
        self._places = places
        self._url = self._secret = self._password = ""
        if isinstance(channel, Email):
            self._password = secret(
                f"{where}: password", channel.password_env, channel.password_file
            )
        else:
            self._url = channel.url or secret(f"{where}: url", channel.url_env, channel.url_file)
            if wrong := check_url(self._url):
                raise InvalidInput(f"{where}: url: it {wrong}; accepted: https://...")
        if isinstance(channel, Webhook):
            self._secret = secret(f"{where}: secret", channel.secret_env, channel.secret_file)
        self._tls = _tls(where, channel.ca)

    async def send(self, message: Message, events: dict[int, Any]) -> None:
        """Send; returns when the receiver has taken it, raises `NotSent` otherwise."""
        match self.channel:
            case Webhook():
                body = letters.document(message, self._places, events)
                await self._post(message, msgspec.json.encode(body))
            case Slack():
                await self._post(message, msgspec.json.encode(letters.slack(message, self._places)))
            case Email() as mail:
                await self._in_thread(lambda: self._mail(mail, message))

    async def _post(self, message: Message, body: bytes) -> None:
        headers = {"content-type": JSON, IDENTITY: message.id, "idempotency-key": message.id}
        if self._secret:
            headers[SIGNATURE] = signature(self._secret, body, int(time.time()))
        try:
            async with asyncio.timeout(2 * SECONDS):
                async with httpx.AsyncClient(timeout=SECONDS, verify=self._tls) as client:
                    answer = await client.post(self._url, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            raise NotSent(self._clean(error)) from None  # its text may hold the address
        if not answer.is_success:
            raise NotSent(f"HTTP status {answer.status_code}", _retry_after(answer))

    async def _in_thread(self, work: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(work)
        except (smtplib.SMTPException, OSError) as error:
            raise NotSent(self._clean(error)) from None

    def _mail(self, mail: Email, message: Message) -> None:
        letter = EmailMessage(policy=LINES)
        letter["Subject"] = letters.subject(message)
        letter["From"], letter["To"] = mail.sender, ", ".join(mail.to)
        letter["Date"] = formatdate()
        letter["Message-ID"] = f"<{message.id}@{mail.sender.rpartition('@')[2]}>"
        letter["Auto-Submitted"] = "auto-generated"
        letter.set_content(letters.text(message, self._places))
        with self._server(mail) as server:
            if mail.tls == "starttls":
                server.starttls(context=self._tls)
            if self._password:
                server.login(mail.user, self._password)
            refused = server.send_message(letter)
        if refused:
            raise NotSent(f"{len(refused)} of {len(mail.to)} addresses were refused")

    def _server(self, mail: Email) -> smtplib.SMTP:
        if mail.tls == "tls":
            return smtplib.SMTP_SSL(mail.host, mail.port, timeout=SECONDS, context=self._tls)
        return smtplib.SMTP(mail.host, mail.port, timeout=SECONDS)

    def _clean(self, error: Exception) -> str:
        """The error without the address and the secrets of the channel."""
        told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        for hidden in (self._url, self._secret, self._password):
            if hidden:
                told = told.replace(hidden, "***")
        return told


def signature(key: str, body: bytes, at: int) -> str:
    """The value of the header `Driftloop-Signature` for a body sent at `at` (seconds)."""
    signed = hmac.new(key.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


def load(file: str) -> Rules:
    """The checked rules in a file; raises `InvalidInput`."""
    try:
        return parse(Path(file).read_text("utf-8"))
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise InvalidInput(f"rules: {file!r}: {why}; accepted: a TOML file") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"rules: {file!r} is not text; accepted: a TOML file") from error


def senders(rules: Rules, places: Places) -> dict[str, Sender]:
    """A sender a channel; raises `InvalidInput` with one line for each secret that is missing."""
    made: dict[str, Sender] = {}
    problems: list[str] = []
    for channel in rules.channels:
        try:
            made[channel.name] = Sender(channel, places)
        except InvalidInput as error:
            problems.append(str(error))
    if problems:
        raise InvalidInput("\n".join(problems))
    return made


def _tls(where: str, ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca or None)
    except OSError as error:
        raise InvalidInput(
            f"{where}: ca: {ca!r} cannot be used ({error}); accepted: a file of certificates (PEM)"
        ) from error


def _retry_after(answer: httpx.Response) -> float:
    """Seconds a receiver asks us to wait; 0 if it does not say, or says a date."""
    told = answer.headers.get("retry-after", "")
    return float(told) if told.isascii() and told.isdigit() and len(told) < 6 else 0.0
