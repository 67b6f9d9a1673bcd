"""Every image once an epoch, whoever takes it, and from few shards at a time."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dermray.training.order import Order, Sharding


def permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of a bucket in one window; trainings that were begun before there were windows go on in it."""
    return np.random.default_rng((seed, epoch)).permutation(count)


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(1, 120), min_size=1, max_size=3),
    seed=st.integers(0, 99),
    workers=st.sampled_from([1, 2, 4]),
    batch=st.sampled_from([4, 8, 32]),
)
def test_every_image_once_an_epoch_whatever_the_number_of_workers(
    counts: list[int], seed: int, workers: int, batch: int
) -> None:
    """Each worker has as many images, all of one bucket; a bucket's images come as its epochs' permutations."""
    order = Order(counts, batch, seed)
    drawn: list[list[int]] = [[] for _ in counts]
    steps = 3 * sum(counts) // batch + len(counts)
    for step in range(steps):
        shares = [order.share(step, rank, workers) for rank in range(workers)]
        [bucket] = {bucket for bucket, _ in shares}
        assert {len(share) for _, share in shares} == {batch // workers}
        drawn[bucket] += np.stack([share for _, share in shares], 1).ravel().tolist()
    for count, shown in zip(counts, drawn, strict=True):
        expected = np.concatenate([permutation(count, seed, epoch) for epoch in range(len(shown) // count + 1)])
        assert shown == expected[: len(shown)].tolist()
        assert abs(len(shown) - count * steps * batch / sum(counts)) <= 2 * batch * len(counts), "buckets keep pace"


def test_buckets_are_mixed() -> None:
    """Small images are not all seen before large ones."""
    order = Order([400, 400], 8, 0)
    seen = [order.share(step, 0, 1)[0] for step in range(100)]
    assert sum(seen) == 50 and 30 < sum(a != b for a, b in itertools.pairwise(seen)) < 70


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.integers(1, 30), min_size=2, max_size=40),
    window=st.integers(1, 200),
    batch=st.integers(5, 40),
    seed=st.integers(0, 99),
)
def test_windows_hold_every_image_once_and_nothing_else_is_needed(
    rows: list[int], window: int, batch: int, seed: int
) -> None:
    """Three epochs by four workers, then three, then five: an image comes once in each, from a shard that was asked
    for, and with a batch in no more than two windows these are all that is asked for."""
    bucket = Sharding(tuple(rows), window)
    order, shard_of = Order([bucket], batch, seed), np.repeat(np.arange(len(rows)), rows)
    numbers, steps = list[int](), -(-3 * bucket.count // batch)
    for step in range(steps):
        workers = (4, 3, 5)[3 * step // steps]
        drawn = np.zeros(batch, int)
        for rank in range(workers):
            drawn[rank::workers] = order.share(step, rank, workers)[1]
        numbers += drawn.tolist()
        [bucket_number, needed] = order.shards(step)
        assert bucket_number == 0 and set(shard_of[drawn].tolist()) <= needed
        cut = bucket.count / bucket.windows + max(rows)  # a window's images at most
        assert sum(rows[shard] for shard in needed) <= max(2 * cut, batch + 2 * cut)
        if batch <= min(rows):
            assert sum(rows[shard] for shard in needed) <= 2 * cut
    for epoch in range(3):
        assert sorted(numbers[epoch * bucket.count : (epoch + 1) * bucket.count]) == list(range(bucket.count))


def test_a_shard_is_needed_before_its_images_come_and_not_much_longer() -> None:
    bucket = Sharding((10,) * 40, 80)  # five windows of eight shards
    order = Order([bucket], 20, 3)
    needed = [order.shards(step)[1] for step in range(40)]  # two epochs
    assert {len(shards) for shards in needed[:16]} == {16}, "two windows"
    assert [before != now for before, now in itertools.pairwise(needed[:16])] == 3 * [False, False, False, True] + 3 * [
        False
    ]
    images = [set((order.share(step, 0, 1)[1] // 10).tolist()) for step in range(40)]
    assert all(shards <= before for shards, before in zip(images[1:], needed, strict=False)), "one step ahead at least"
    assert np.mean([len(shards) for shards in images]) > 6, "a batch of 20 mixes the eight shards of its window"
    assert images[:20] != images[20:], "an epoch has windows of its own"
