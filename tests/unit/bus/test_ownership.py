"""Who may own what, by what is seen of the others."""

from collections import Counter
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from driftloop.bus.ownership import Seen, Term, free, partition_of, share

NOBODY: frozenset[tuple[int, int]] = frozenset()


def test_a_model_lies_in_the_same_partition_in_every_process() -> None:
    # The check value of CRC-32 is 0xCBF43926, which is 3421780262.
    assert partition_of("123456789", 1_000) == 262
    assert partition_of("123456789", 1) == 0


def test_every_model_has_exactly_one_owner_and_partitions_are_alike_in_size() -> None:
    terms = [Term(at, 4) for at in range(4)]
    models = [f"model-{at}" for at in range(4_000)]
    owners = Counter(term.partition for model in models for term in terms if term.has(model))
    assert sum(owners.values()) == len(models)
    assert min(owners.values()) > 900


def test_terms_of_the_same_partition_have_different_ids() -> None:
    assert Term(0, 1).id != Term(0, 1).id


@given(partitions=st.integers(1, 64), replicas=st.integers(1, 16))
def test_fair_shares_cover_all_partitions(partitions: int, replicas: int) -> None:
    its = share(partitions, Seen([partitions] * replicas, NOBODY))
    assert its == ceil(partitions / replicas)
    assert its * replicas >= partitions


def test_a_replica_that_does_not_see_itself_yet_has_a_share() -> None:
    assert share(3, Seen([], NOBODY)) == 3


def test_of_two_divisions_of_the_models_the_finer_one_wins() -> None:
    seen = Seen([1, 4, 1], NOBODY)
    assert share(1, seen) == 0
    assert share(4, seen) == 4


def test_nothing_is_free_while_a_partition_of_another_division_is_owned() -> None:
    assert free(2, Seen([1, 2], frozenset({(1, 0)}))) == []
    assert free(2, Seen([2, 2], frozenset({(2, 0)}))) == [1]
    assert free(2, Seen([2], NOBODY)) == [0, 1]
