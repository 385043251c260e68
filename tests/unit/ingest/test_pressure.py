import pytest

from driftloop.contracts.errors import Overloaded
from driftloop.ingest.pressure import Room


def test_requests_have_room_until_it_is_taken() -> None:
    room = Room(100)
    with room.hold(60):
        with room.hold(40):
            pass
        with pytest.raises(Overloaded, match="60 bytes of requests are under way"), room.hold(41):
            pass
    with room.hold(100):
        pass


def test_one_request_has_room_however_large_it_is() -> None:
    with Room(100).hold(500):
        pass
