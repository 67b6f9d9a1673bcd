import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray.evaluation.moments import Moments, Slots, none, total

WIDTH = 5


def vectors(count: int, seed: int) -> np.ndarray:
    """Far from zero, where sums of squares lose their digits."""
    return (np.random.default_rng(seed).normal(1000, 1, (count, WIDTH))).astype(np.float32)


def same(found: Moments, features: np.ndarray) -> None:
    exact = features.astype(np.float64)
    assert found.count == len(features)
    np.testing.assert_allclose(found.mean, exact.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(exact, rowvar=False), rtol=1e-7, atol=1e-9)


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12), seed=st.integers(0, 2**20), data=st.data())
def test_blocks_in_any_order_and_merged_in_any_tree_are_the_whole(
    sizes: list[int], seed: int, data: st.DataObject
) -> None:
    features = vectors(sum(sizes) + 1, seed)
    blocks = np.split(features, np.cumsum(sizes))
    parts = [Moments.of(block) for block in data.draw(st.permutations(blocks))]
    while len(parts) > 1:
        left = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        right = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        parts.append(left + right)
    same(parts[0], features)


@given(
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=6),
    slots=st.integers(1, 4),
    seed=st.integers(0, 2**20),
)
def test_slots_of_a_stream_are_its_parts(sizes: list[int], slots: int, seed: int) -> None:
    features = vectors(sum(sizes) + 2 * slots, seed)
    where = np.random.default_rng(seed).integers(0, slots, len(features))
    where[: 2 * slots] = np.repeat(np.arange(slots), 2)  # a covariance needs two
    found = Slots(slots, WIDTH)
    for start in range(0, len(features), 100):
        found.add(features[start : start + 100], where[start : start + 100])
    moments = found.moments()
    for slot in range(slots):
        same(moments[slot], features[where == slot])
    same(total(moments), features)
    if slots > 1:
        same(total(moments) - moments[0], features[where != 0])


def test_of_nothing() -> None:
    features = vectors(7, 0)
    same(none(WIDTH) + Moments.of(features), features)
    same(Moments.of(features) + none(WIDTH), features)
    assert (none(WIDTH) + none(WIDTH)).count == 0
    assert Slots(2, WIDTH).moments()[1].count == 0
    with pytest.raises(ValueError, match="not enough values"):
        total([])
