"""`driftloop notify`: a rule file is checked, and its channels are tried on a real receiver."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from driftloop.cli import notify
from driftloop.cli.exits import Exit, Stop
from driftloop.contracts.errors import InvalidInput
from tests.support.receivers import Hook

RULES = """
[[channels]]
name = "hook"
kind = "webhook"
url_file = "{url}"

[[rules]]
name = "all"
channels = ["hook"]
"""


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook().running() as made:
        yield made


@pytest.fixture
def rules(hook: Hook, tmp_path: Path) -> Path:
    (tmp_path / "url").write_text(f"{hook.url}\n")
    file = tmp_path / "notify.toml"
    file.write_text(RULES.format(url=tmp_path / "url"))
    return file


def test_a_good_file_is_accepted(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notify.check(rules)
    told = capsys.readouterr().out
    assert "all: * of *, warning or worse, to hook" in told
    assert "1 channels, 1 rules; accepted" in told


def test_a_channel_is_tried_and_says_why_it_did_not_take_the_message(
    hook: Hook, rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notify.try_channels(rules, ["hook"])
    assert capsys.readouterr().out == "hook: taken\n"
    [document] = hook.documents()
    assert document["notices"][0]["kind"] == "test"
    hook.statuses = [404]
    with pytest.raises(Stop) as refused:
        notify.try_channels(rules)
    assert refused.value.code == Exit.NO
    assert capsys.readouterr().out == "hook: HTTP status 404\n"


def test_nobody_there_is_said_without_the_secret_address(
    rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "url").write_text("http://127.0.0.1:1/s3cret")
    with pytest.raises(Stop):
        notify.try_channels(rules)
    told = capsys.readouterr().out
    assert told.startswith("hook: ConnectError")
    assert "s3cret" not in told


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("url_file", "uri", "channels.0.: Object contains unknown field `uri`; accepted: name, "),
        ("url_file", "url_env", "channel hook: url_env: .* is not in the environment"),
        ("/url", "/nothing", "channel hook: url_file: .* cannot be read"),
        ('["hook"]', '["hock"]', "rules.0..channels: 'hock' is no channel; accepted: hook"),
    ],
)
def test_a_bad_file_is_refused_with_what_is_accepted(
    old: str, new: str, problem: str, rules: Path
) -> None:
    rules.write_text(rules.read_text().replace(old, new))
    with pytest.raises(InvalidInput, match=problem):
        notify.check(rules)


def test_a_channel_that_is_not_there_is_refused(rules: Path) -> None:
    with pytest.raises(InvalidInput, match="--channel: 'team' is no channel; accepted: hook"):
        notify.try_channels(rules, ["team"])
