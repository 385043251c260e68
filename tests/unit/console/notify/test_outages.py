"""Which services are out, and when they are back."""

from driftloop.console.domain.notify.book import Book
from driftloop.console.domain.notify.notices import Notice
from driftloop.console.domain.notify.outages import Heard, Watch

NOW = 1_790_000_000.0
AFTER = 60.0


class World:
    """Two services, one of which can be made silent."""

    def __init__(self) -> None:
        self.watch = Watch(("drift", "trainer"), NOW)
        self.book = Book()
        self.said: list[Notice] = []

    def second(self, at: float, *, drift: bool | None = True, trainer: bool | None = True) -> None:
        for name, ready in (("drift", drift), ("trainer", trainer)):
            if ready is not None:
                heard = Heard(at=at, ready=ready, reason="" if ready else "rebuilding")
                self.watch.hear(name, f"http://{name}", heard)
        self.book, said = self.watch.look(self.book, AFTER, at)
        self.said += said


def test_a_service_that_is_silent_for_long_is_out_and_back_when_it_is_heard() -> None:
    world = World()
    for n in range(0, 200):
        world.second(NOW + n, drift=True if n < 10 or n >= 150 else None)
    assert [(one.kind, one.service) for one in world.said] == [
        ("service.out", "drift"),
        ("service.back", "drift"),
    ]
    assert world.said[0].happened.startswith("drift: silent, since ")
    assert not world.book.outages


def test_a_service_that_is_not_ready_for_long_is_out_with_its_reason() -> None:
    world = World()
    for n in range(0, 70):
        world.second(NOW + n, trainer=n < 2)
    [out] = world.said
    assert out.happened.startswith("trainer: not ready (rebuilding), since ")


def test_a_short_silence_is_no_outage() -> None:
    world = World()
    for n in range(0, 120):
        world.second(NOW + n, drift=None if 20 < n < 70 else True)
    assert world.said == []


def test_when_nobody_is_heard_it_is_not_the_services_that_are_out() -> None:
    world = World()
    for n in range(0, 600):
        away = 10 < n < 500
        world.second(NOW + n, drift=None if away else True, trainer=None if away else True)
    assert world.said == []


def test_an_outage_is_not_told_again_by_who_takes_over() -> None:
    world = World()
    for n in range(0, 100):
        world.second(NOW + n, drift=None)
    assert [one.kind for one in world.said] == ["service.out"]
    book = world.book
    world = World()
    world.book = book
    for n in range(0, 100):
        world.second(NOW + n, drift=None)
    assert world.said == []
    world.second(NOW + 100)
    assert [one.kind for one in world.said] == ["service.back"]


def test_one_ready_process_of_a_service_is_enough() -> None:
    world = World()
    for n in range(0, 100):
        world.watch.hear("drift", "http://second", Heard(at=NOW + n, ready=True, reason=""))
        world.second(NOW + n, drift=False)
    assert world.said == []
