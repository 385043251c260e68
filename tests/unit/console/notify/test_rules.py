"""The rule file: every problem at once, and who gets what."""

import pytest

from driftloop.console.domain.notify.rules import parse
from driftloop.contracts.errors import InvalidInput

GOOD = """
outage_after = "30s"

[[channels]]
name = "pager"
kind = "webhook"
url = "https://alerts.example.org/hook"
secret_env = "PAGER_SECRET"

[[channels]]
name = "team"
kind = "slack"
url_file = "/run/secrets/slack"

[[channels]]
name = "mail"
kind = "email"
host = "smtp.example.org"
user = "driftloop"
password_file = "/run/secrets/smtp"
sender = "driftloop@example.org"
to = ["ops@example.org"]

[[rules]]
name = "night"
kinds = ["service.out", "model.*"]
channels = ["pager", "team"]
quiet = "1h"

[[rules]]
name = "all of flights"
models = ["flights*"]
severity = "info"
channels = ["team", "mail"]
"""


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidInput) as refused:
        parse(text)
    return str(refused.value).splitlines()


def test_a_fact_goes_to_each_channel_once_by_the_first_rule_that_takes_it() -> None:
    rules = parse(GOOD)
    assert rules.lines("model.rolled_back", "warning", "flights", "") == [
        (0, "pager"),
        (0, "team"),
        (1, "mail"),
    ]
    assert rules.lines("model.promoted", "info", "flights-2", "") == [(1, "team"), (1, "mail")]
    assert rules.lines("model.promoted", "info", "churn", "") == []
    assert rules.lines("drift.detected", "warning", "churn", "") == []


def test_a_rule_that_names_models_is_not_told_of_services() -> None:
    of_model = parse(GOOD.replace('kinds = ["service.out", "model.*"]', 'models = ["flights"]'))
    assert (0, "pager") not in of_model.lines("service.out", "critical", "", "drift")
    of_service = parse(GOOD.replace('kinds = ["service.out", "model.*"]', 'services = ["drift"]'))
    assert (0, "pager") in of_service.lines("service.out", "critical", "", "drift")
    assert (0, "pager") not in of_service.lines("model.rolled_back", "warning", "flights", "")


def test_that_a_service_is_back_is_told_to_whom_it_was_out() -> None:
    rules = parse(GOOD)
    assert (0, "pager") in rules.lines("service.back", "critical", "", "trainer")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('kind = "slack"', 'kind = "pigeon"', "channels[1].kind: 'pigeon' is no channel"),
        ('host = "smtp', 'hots = "smtp', "channels[2]: Object contains unknown field `hots`"),
        ('url = "https://alerts', 'url = "alerts', "channels[0].url: 'alerts.e...' is not a URL"),
        ('url_file = "/run/secrets/slack"', "", "channels[1].url: '' is missing; accepted: one of"),
        ('name = "team"', 'name = "pager"', "channels[1].name: 'pager' is there twice"),
        ('user = "driftloop"\n', "", "channels[2].user: '' and password do not go together"),
        ('"ops@example.org"', '"ops"', "channels[2].to: 'ops' is not an address"),
        ("user =", 'tls = "none"\nuser =', "channels[2].tls: 'none' would show the password"),
        ("user =", "port = 0\nuser =", "channels[2].port: 0 is not a port; accepted: 1 to 65535"),
        ('"team", "mail"', '"tame"', "rules[1].channels: 'tame' is no channel; accepted: pager, "),
        ('"model.*"', '"modle.*"', "rules[0].kinds: 'modle.*' is no kind of event"),
        ('quiet = "1h"', 'quiet = "soon"', "rules[0].quiet: 'soon' is not a duration"),
        ('severity = "info"', 'severity = "bad"', "rules[1].severity: Invalid enum value 'bad'"),
        ('["flights*"]', "[]", "rules[1].models: [] names nothing"),
        ('= "30s"', '= "1s"', "outage_after: '1s' is too short; accepted: 5s or longer"),
        ("outage_after", "outage", "outage: unknown field; accepted: outage_after, channels"),
        ("[[rules]]", "[[rules]", "rules: "),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_what_is_accepted(
    old: str, new: str, problem: str
) -> None:
    assert old in GOOD
    found = problems(GOOD.replace(old, new, 1))
    assert any(line.startswith(problem) and "; accepted: " in line for line in found), found


def test_all_problems_are_told_at_once() -> None:
    wrong = GOOD.replace('"1h"', '"x"').replace('"team", "mail"', '"tame"').replace('"slack"', "1")
    assert len(problems(wrong)) == 3


def test_a_file_without_rules_is_refused() -> None:
    assert problems("")[0].startswith("channels: 0 found; accepted: 1 to 32")
