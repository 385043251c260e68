from driftloop.bus.door import Queue
from driftloop.bus.wire import Heard

NOBODY: dict[bytes, int] = {}


def request(subject: str, number: int, size: int = 10) -> Heard:
    return subject.encode(), b"%d" % number, b"", b"x" * size


def taken(queue: Queue) -> list[tuple[bytes, int]]:
    found = []
    while (one := queue.take(NOBODY, 1)) is not None:
        found.append((one[0], int(one[1])))
    return found


def refused(queue: Queue, now: float = 0.0) -> list[tuple[bytes, int]]:
    return [(one[0], int(one[1])) for one in queue.excess(now)]


def test_subjects_are_served_in_turn_each_in_its_order() -> None:
    queue = Queue()
    for number in range(3):
        queue.put(request("a", number), 0.0)
    queue.put(request("b", 0), 0.0)
    assert taken(queue) == [(b"a", 0), (b"b", 0), (b"a", 1), (b"a", 2)]
    assert queue.bytes == 0


def test_a_subject_with_enough_under_way_waits() -> None:
    queue = Queue()
    queue.put(request("a", 0), 0.0)
    queue.put(request("b", 0), 0.0)
    one = queue.take({b"a": 2}, 2)
    assert one is not None
    assert one[0] == b"b"
    assert queue.take({b"a": 2}, 2) is None
    assert queue.take({b"a": 1}, 2) is not None


def test_what_is_too_much_is_refused_to_who_has_most() -> None:
    queue = Queue(most_bytes=45)
    queue.put(request("b", 0), 0.0)
    for number in range(4):
        queue.put(request("a", number), 0.0)
    assert refused(queue) == [(b"a", 3)]
    assert queue.bytes == 40
    assert taken(queue) == [(b"b", 0), (b"a", 0), (b"a", 1), (b"a", 2)]


def test_one_request_waits_however_large_it_is() -> None:
    queue = Queue(most_bytes=45)
    queue.put(request("a", 0, size=100), 0.0)
    assert refused(queue) == []
    queue.put(request("a", 1), 0.0)
    assert refused(queue) == [(b"a", 1)]


def test_what_has_waited_too_long_is_refused() -> None:
    queue = Queue(most_seconds=2.0)
    queue.put(request("a", 0), 0.0)
    queue.put(request("b", 0), 0.5)
    queue.put(request("a", 1), 1.5)
    assert refused(queue, 2.0) == []
    assert refused(queue, 2.6) == [(b"a", 0), (b"b", 0)]
    assert taken(queue) == [(b"a", 1)]
