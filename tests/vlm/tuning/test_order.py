import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermray.training.order import Sharding
from dermray.vlm.tuning.order import LengthOrder

LENGTHS = np.random.default_rng(0).integers(20, 2000, 5000)


def order(conversations: int | Sharding, batch_size: int, seed: int = 0, window: int = 8) -> LengthOrder:
    return LengthOrder(conversations, lambda numbers: LENGTHS[numbers], batch_size, seed, window)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    shuffled=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    window=st.integers(1, 7),
    seed=st.integers(0, 99),
)
def test_every_conversation_once_an_epoch(
    rows: list[int], shuffled: int, batch_size: int, window: int, seed: int
) -> None:
    count = sum(rows)
    walk = order(Sharding(tuple(rows), shuffled), batch_size, seed, window)
    steps = -(-3 * count // batch_size)
    seen = np.concatenate([walk.share(step) for step in range(steps)])
    for epoch in range(3):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == list(range(count))


@settings(deadline=None, max_examples=30)
@given(workers=st.integers(1, 4), step=st.integers(0, 400), seed=st.integers(0, 9))
def test_workers_share_what_one_would_see_wherever_it_begins(workers: int, step: int, seed: int) -> None:
    whole = order(300, 8, seed).share(step)
    fresh = order(300, 8, seed)
    shares = [fresh.share(step, rank, workers) for rank in range(workers)]
    assert sorted(np.concatenate(shares)) == sorted(whole)
    assert min(map(len, shares)) >= 8 // workers


def test_batches_are_of_about_one_length() -> None:
    grouped, plain = order(4000, 16, window=64), order(4000, 16, window=1)

    def padding(walk: LengthOrder) -> float:
        batches = [LENGTHS[walk.share(step)] for step in range(250)]
        return float(np.mean([1 - batch.mean() / batch.max() for batch in batches]))

    assert padding(grouped) < 0.05 < 0.3 < padding(plain)


def test_short_and_long_batches_are_mixed() -> None:
    means = np.array([LENGTHS[order(4000, 16, window=64).share(step)].mean() for step in range(64)])
    assert abs(np.corrcoef(means, np.arange(64))[0, 1]) < 0.4
    assert means.std() > 300


def test_seeds_and_epochs_differ() -> None:
    assert not np.array_equal(order(64, 8).share(0), order(64, 8, seed=1).share(0))
    walk = order(64, 8)
    assert not np.array_equal(walk.share(0), walk.share(8))


def test_nothing_to_batch() -> None:
    with pytest.raises(ValueError, match="batch_size=0"):
        order(10, 0)
