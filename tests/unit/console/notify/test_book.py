"""What is told, when, and how often: the book of notifications, step by step."""

from collections import Counter

from msgspec.structs import replace

from driftloop.console.domain.notify import book as books
from driftloop.console.domain.notify import words
from driftloop.console.domain.notify.book import Book
from driftloop.console.domain.notify.notices import Notice, iso, service_back, service_out
from driftloop.console.domain.notify.rules import Rules, parse
from driftloop.contracts import events as e
from driftloop.contracts.headers import Origin
from tests.support import synthetic as syn

NOW = 1_790_000_000.0
RULES = parse(
    """
[[channels]]
name = "hook"
kind = "webhook"
url = "http://127.0.0.1/"

[[rules]]
name = "all"
severity = "info"
channels = ["hook"]
quiet = "30m"
group = "10s"
interval = "1m"
"""
)
LINE = books.key("all", "hook")


def drift(n: int, at: float = NOW, feature: str = "temp") -> Notice:
    alarm = replace(syn.alarm("flights", 900 + n), detector=f"feature:{feature}", feature=feature)
    [told] = syn.facts([(alarm, Origin())], first_seq=n)
    return replace(words.notice(told), at=iso(at))


class Told:
    """A book that grows, and what it left out."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.book = Book()
        self.rules = rules
        self.left = Counter[str]()

    def tell(self, one: Notice, now: float = NOW) -> None:
        def count(reason: str) -> None:
            self.left[reason] += 1

        self.book = books.tell(self.book, self.rules, one, now, count)

    def due(self, now: float) -> bool:
        return books.due(self.book, self.rules, now) == [LINE]


def test_a_burst_becomes_one_message_when_its_time_has_come() -> None:
    told = Told()
    for n in range(3):
        told.tell(drift(n, feature=f"f{n}"), NOW + n)
    assert not told.due(NOW + 9.9)
    assert told.due(NOW + 10)
    told.book, message = books.attempt(told.book, LINE)
    assert [one.title for one in message.notices] == [
        f"flights: the feature f{n} no longer looks as it did" for n in range(3)
    ]
    assert not told.book.lines[LINE].waiting


def test_messages_are_an_interval_apart() -> None:
    told = Told()
    told.tell(drift(1))
    told.book, _ = books.attempt(told.book, LINE)
    told.book = books.sent(told.book, LINE, NOW + 10)
    told.tell(drift(2, feature="hour"), NOW + 11)
    assert not told.due(NOW + 69)
    assert told.due(NOW + 70)


def test_the_same_event_is_told_once_however_often_it_comes() -> None:
    told = Told()
    for _ in range(3):
        told.tell(drift(1))
    assert len(told.book.lines[LINE].waiting) == 1
    assert told.left == {"repeated": 2}


def test_the_same_alarm_is_told_again_after_quiet_and_says_how_often_it_was_not() -> None:
    told = Told()
    for n in range(4):
        told.tell(drift(n, NOW + 60.0 * n), NOW + 60.0 * n)
    told.tell(drift(9, NOW + 1_800), NOW + 1_800)
    assert [one.repeats for one in told.book.lines[LINE].waiting] == [0, 3]
    assert told.left == {"quiet": 3}


def test_what_is_too_much_for_a_message_is_counted_in_it() -> None:
    told = Told()
    for n in range(books.MOST_WAITING + 7):
        told.tell(drift(n, feature=f"f{n}"))
    _, message = books.attempt(told.book, LINE)
    assert (len(message.notices), message.more) == (books.MOST_WAITING, 7)
    assert told.left == {"many": 7}


def test_what_happened_long_ago_is_not_told() -> None:
    told = Told()
    told.tell(drift(1, NOW - books.OLD_SECONDS - 1))
    assert told.book == Book()
    assert told.left == {"old": 1}


def test_a_message_is_the_same_in_every_attempt_and_given_up_after_the_last() -> None:
    told, now, ids = Told(), NOW + 10, set()
    told.tell(drift(1))
    waits = []
    for number in range(1, books.ATTEMPTS + 1):
        assert told.due(now)
        told.book, message = books.attempt(told.book, LINE)
        assert message.attempts == number
        ids.add(message.id)
        told.book, given_up = books.failed(told.book, LINE, now, "HTTP status 500")
        assert given_up == (number == books.ATTEMPTS)
        if not given_up:
            later = told.book.lines[LINE].message
            assert later is not None
            waits.append(later.next_at - now)
            assert not told.due(later.next_at - 0.1)
            now = later.next_at
    assert len(ids) == 1
    assert waits == [2, 4, 8, 16, 32, 64, 128]
    [failure] = told.book.failures
    assert (failure.channel, failure.error) == ("hook", "HTTP status 500")
    assert told.book.failed == 1


def test_a_receiver_may_ask_for_more_time_but_not_for_ever() -> None:
    told = Told()
    told.tell(drift(1))
    for asked, waits in ((30.0, 30.0), (1e9, books.LONGEST_SECONDS)):
        told.book, _ = books.attempt(told.book, LINE)
        told.book, _ = books.failed(told.book, LINE, NOW, "HTTP status 429", asked)
        later = told.book.lines[LINE].message
        assert later is not None
        assert later.next_at == NOW + waits


def test_what_the_system_did_comes_into_the_notice_while_it_waits() -> None:
    told = Told()
    alarm = syn.alarm("flights")
    [first, second, *_] = syn.facts(list(syn.promotion("flights", 8, alarm)))
    told.tell(replace(words.notice(first), at=iso(NOW)))
    told.book = books.answered(told.book, *words.answer(second))
    [one] = told.book.lines[LINE].waiting
    assert one.did.startswith("run-0008 began: version 8 is being trained.")


def test_an_outage_that_ends_before_it_is_told_is_not_told_at_all() -> None:
    told = Told()
    told.tell(service_out("drift", "silent", NOW - 60, NOW))
    told.tell(service_back("drift", NOW - 60, NOW + 5), NOW + 5)
    assert not told.book.lines[LINE].waiting
    assert not told.due(NOW + 1_000)


def test_the_book_is_the_same_after_it_was_kept() -> None:
    told = Told()
    told.tell(drift(1))
    told.book, _ = books.attempt(told.book, LINE)
    told.tell(drift(2, feature="hour"))
    assert books.decode(books.encode(told.book)) == told.book


def test_each_kind_of_event_has_words_with_what_to_do() -> None:
    said = [*syn.promotion("flights", 8)]
    for told in syn.facts(said):
        one = words.notice(told)
        assert one.title.startswith("flights: ")
        assert one.happened
        assert one.todo
        assert one.page in ("#/run/run-0008", "#/model/flights")


def test_a_run_that_leaves_a_worse_model_in_place_is_critical() -> None:
    ended = e.RunFinished(
        model="flights",
        run="run-1",
        trigger="degraded",
        version=8,
        verdict="rejected",
        reason="loss",
    )
    [told] = syn.facts([(ended, Origin())])
    assert words.notice(told).severity == "critical"
