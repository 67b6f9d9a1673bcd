from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel

from dermray.classification.arms import ARMS
from dermray.classification.verdict import compare


def trials(means: dict[str, float], noise: float = 0.01) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {"arm": a.name, "backbone": b, "seed": s, "auc": means.get(a.name, 0.8) + rng.normal(0, noise)}
        for a in ARMS
        for b in ("x", "y")
        for s in range(3)
    ]


GOOD = {"shuffled labels": 0.6, "real only": 0.7, "real + synthetic 1:2": 0.75, "more real": 0.85}


def test_the_expected_order_comes_out() -> None:
    found = compare(trials(GOOD))
    assert all(c.came_out and c.pairs == 6 and c.won == 6 for c in found) and len(found) == 4


def test_a_difference_within_the_noise_is_not_called_a_success() -> None:
    found = compare(trials(GOOD | {"real + synthetic 1:2": 0.702}, noise=0.02))
    helps = next(c for c in found if c.claim.startswith("synthetic images help"))
    assert not helps.came_out and helps.low < 0 < helps.high


def test_intervals_equal_a_paired_t_test() -> None:
    data = trials(GOOD, noise=0.03)
    for comparison in compare(data):
        keyed = {name: sorted((t["backbone"], t["seed"], t["auc"]) for t in data if t["arm"] == name) for name in
                 (comparison.better, comparison.worse)}  # fmt: skip
        better, worse = ([auc for *_, auc in keyed[name]] for name in (comparison.better, comparison.worse))
        expected = ttest_rel(better, worse).confidence_interval(0.95)
        assert [comparison.low, comparison.high] == pytest.approx([expected.low, expected.high])


def test_missing_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="not run on the same seeds"):
        compare([t for t in trials(GOOD) if not (t["arm"] == "more real" and t["seed"] == 1)])


def test_one_pair_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least two pairs"):
        compare([t for t in trials(GOOD) if (t["backbone"], t["seed"]) == ("x", 0)])
