"""A measurement whose numbers no table holds is refused, not tried for ever."""

import msgspec
import pytest

from driftloop.contracts import codec
from driftloop.contracts.errors import Reject
from driftloop.telemetry.domain import records
from tests.support import synthetic


@pytest.mark.parametrize("field", ["outcomes_total", "waiting_predictions", "scored_seq"])
def test_a_number_that_its_column_does_not_hold_is_refused(field: str) -> None:
    stat = msgspec.structs.replace(synthetic.join("tide", 5), **{field: -1})
    with pytest.raises(Reject, match=r"join_stats: .* accepted"):
        records.decode_stat(codec.encode(stat), {}, 1)
