"""Where messages are sent to: the kinds of channels, as a rule file has them."""

import re
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

Problem = tuple[str, object, str, str]
"""Field, value, what is wrong with it, what is accepted."""

_URL: Final = re.compile(r"https?://(\[[0-9a-fA-F:.]+\]|[^\s/?#@:\[\]]+)(:\d{1,5})?([/?#]\S*)?\Z")
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class _Channel(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"
):
    """One of the kinds; the field `kind` says which."""

    name: str


class Webhook(_Channel, frozen=True, kw_only=True, tag="webhook"):
    """A URL that takes our JSON. With a secret the request is signed (HMAC, SHA-256).

    The URL is given as it is, or by `url_env` or `url_file`, if it is a secret itself. `ca` is a
    file with the authority of the server's certificate, if that is none of the system's.
    """

    url: str = ""
    url_env: str = ""
    url_file: str = ""
    secret_env: str = ""
    secret_file: str = ""
    ca: str = ""


class Slack(_Channel, frozen=True, kw_only=True, tag="slack"):
    """A URL that takes Slack's JSON: text and blocks. The URL is as in `Webhook`."""

    url: str = ""
    url_env: str = ""
    url_file: str = ""
    ca: str = ""


class Email(_Channel, frozen=True, kw_only=True, tag="email"):
    """A mail server that is given messages for some addresses. `tls`: STARTTLS, TLS or none."""

    host: str
    sender: str
    to: tuple[str, ...]
    port: int = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password_env: str = ""
    password_file: str = ""
    ca: str = ""


Channel = Webhook | Slack | Email
KINDS: Final[dict[str, type[Channel]]] = {"webhook": Webhook, "slack": Slack, "email": Email}


def problems(where: str, channel: Channel) -> Iterator[Problem]:
    """What is wrong with a channel of the right structure."""
    match channel:
        case Email():
            yield from _email(where, channel)
        case Webhook():
            yield from _one_of(where, channel, "url", needed=True)
            yield from _one_of(where, channel, "secret", needed=False)
            yield from _url(where, channel.url)
        case Slack():
            yield from _one_of(where, channel, "url", needed=True)
            yield from _url(where, channel.url)


def check_url(url: str) -> str:
    """What is wrong with a URL, without saying it; empty if nothing is."""
    return "" if _URL.match(url) else "is not a URL"


def _url(where: str, url: str) -> Iterator[Problem]:
    if url and (wrong := check_url(url)):
        told = f"{url[:8]}..."  # the rest may be a secret
        yield f"{where}.url", told, wrong, "https://..., or http://..."


def _one_of(where: str, channel: Channel, field: str, *, needed: bool) -> Iterator[Problem]:
    names = [n for n in (field, f"{field}_env", f"{field}_file") if hasattr(channel, n)]
    given = [name for name in names if getattr(channel, name)]
    accepted = f"{'' if needed else 'at most '}one of {', '.join(names)}"
    if len(given) > 1:
        yield f"{where}.{given[1]}", getattr(channel, given[1]), f"beside {given[0]}", accepted
    elif needed and not given:
        yield f"{where}.{field}", "", "is missing", accepted


def _email(where: str, channel: Email) -> Iterator[Problem]:
    if not channel.host:
        yield f"{where}.host", channel.host, "is empty", "the name of a mail server"
    if not 0 < channel.port < 65_536:
        yield f"{where}.port", channel.port, "is not a port", "1 to 65535"
    for field, address in (("sender", channel.sender), *(("to", one) for one in channel.to)):
        if not _address(address):
            yield f"{where}.{field}", address, "is not an address", "such as ops@example.org"
    if not channel.to:
        yield f"{where}.to", [], "is empty", "at least one address"
    yield from _one_of(where, channel, "password", needed=False)
    password = channel.password_env or channel.password_file
    if bool(channel.user) != bool(password):
        yield (
            f"{where}.user",
            channel.user,
            "and password do not go together",
            "both, or neither of them",
        )
    if password and channel.tls == "none" and channel.host not in LOOPBACK:
        yield f"{where}.tls", channel.tls, "would show the password", "starttls or tls"


def _address(text: str) -> bool:
    name, at, domain = text.rpartition("@")
    return bool(at and name and domain) and text.isprintable() and not {*' ,;<>"'} & {*text}
