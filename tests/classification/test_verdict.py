from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from dermray.classification.held_out import HeldOut, Resampled, Scored, resample
from dermray.classification.verdict import Comparison, compare, controls_came_out
from dermray.statistics import holm
from tests.classification.made_up import ARMS, held_out, sweep

PART = held_out(300)
EQUAL = dict.fromkeys(ARMS, 1.2)


def judged(scored: list[Scored], part: HeldOut = PART, by_backbone: bool = False) -> dict[str, Comparison]:
    """By the arm beside the baseline; of several backbones or counts the last."""
    comparisons = compare(resample(scored, [part], "auc", 200, 0), part.clusters, by_backbone)
    return {c.worse if c.role == "negative control" else c.better: c for c in comparisons}


def test_the_expected_order_comes_out_controls_first() -> None:
    found = list(judged(sweep(PART, {"real + synthetic 1:1": 1.7, "real + synthetic 1:2": 1.8})).values())
    assert [c.role for c in found[:2]] == ["negative control", "positive control"]
    assert not any(c.control for c in found[2:]) and len(found) == 5
    assert controls_came_out(found) is True
    assert [c.came_out for c in found] == [True, True, True, True, False]
    assert found[0].claim == "negative control: real only better than shuffled labels"
    assert found[3].claim == "real + synthetic 1:2 better than real only" and found[3].pairs == found[3].won == 8


def test_without_a_difference_nothing_comes_out() -> None:
    found = judged(sweep(PART, EQUAL))
    assert not any(c.came_out or c.harmful for c in found.values())
    assert controls_came_out(list(found.values())) is False
    assert controls_came_out([c for c in found.values() if not c.control]) is None


def test_harm_is_no_success() -> None:
    found = judged(sweep(PART, {"synthetic only": 0.3}))["synthetic only"]
    assert found.harmful and not found.came_out and found.estimate.high < 0 and found.won == 0


def test_treatments_are_corrected_together_and_controls_not_at_all() -> None:
    found = judged(sweep(PART))
    family = [found[name] for name in ("real + synthetic 1:1", "real + synthetic 1:2", "synthetic only")]
    assert [c.corrected_p for c in family] == holm([c.estimate.p for c in family])
    assert [c.tests for c in family] == [3, 3, 3]
    assert found["more real"].corrected_p == found["more real"].estimate.p and found["more real"].tests == 1
    several = judged(sweep(PART, real_images=(50, 100)), by_backbone=True)
    assert several["synthetic only"].tests == 3 * 2 * 2


def test_a_copy_of_a_backbone_tells_nothing_new() -> None:
    """Its trials share the seeds, and so their training images: twice as many pairs, the same interval."""
    alone = sweep(PART, backbones=("x",))
    both = judged(alone + [replace(s, backbone="copy") for s in alone])["real + synthetic 1:1"]
    assert both.pairs == 8
    assert both.estimate == judged(alone)["real + synthetic 1:1"].estimate


def test_test_images_widen_the_interval_that_seeds_alone_give() -> None:
    few = held_out(60)
    found = judged(sweep(few, seeds=12, by_seed=0.0), few)["real + synthetic 1:1"].estimate
    value = {
        (s.scored.arm, *s.scored.pair): s.value for s in resample(sweep(few, seeds=12, by_seed=0.0), [few], "auc", 2, 0)
    }
    by_seed = [
        np.mean([value["real + synthetic 1:1", 0, s, b] - value["real only", 0, s, b] for b in "xy"]) for s in range(12)
    ]
    assert found.mean == pytest.approx(np.mean(by_seed))
    low, high = stats.ttest_1samp(by_seed, 0).confidence_interval()
    assert found.high - found.low > 1.2 * (high - low)


def test_both_arms_are_resampled_alike() -> None:
    """What is hard for both arms cancels in their difference: an interval of unpaired arms would be much wider."""
    scored = sweep(PART, by_seed=0.0)
    paired = judged(scored)["real + synthetic 1:1"].estimate.components.cluster
    again = resample([s for s in scored if s.arm in ("real only", "real + synthetic 1:1")], [PART], "auc", 300, 0)
    unpaired = sum(np.mean([r.again for r in again if r.scored.arm == arm], axis=0).var() for arm in ARMS if arm in
                   {r.scored.arm for r in again})  # fmt: skip
    assert paired < 0.3 * unpaired


def test_of_several_splits_these_are_the_observations() -> None:
    parts = [replace(held_out(200, seed=split), split=split) for split in range(3)]
    scored = [replace(s, split=part.split) for part in parts for s in sweep(part)]
    clusters = len({group for part in parts for group in part.leak_groups})
    found = compare(resample(scored, parts, "auc", 100, 0), clusters)[2]
    assert found.pairs == 24 and found.estimate.components.runs == 3


def test_arms_that_cannot_be_paired_are_refused() -> None:
    scored = sweep(PART)
    lacking = [s for s in scored if (s.arm, s.seed) != ("more real", 1)]
    with pytest.raises(ValueError, match="'more real' and 'real only' were not run on the same seeds and backbones"):
        judged(lacking)
    with pytest.raises(ValueError, match="one seed has no interval; expected at least two seeds"):
        judged([s for s in scored if s.seed == 0])
    with pytest.raises(ValueError, match="expected one arm of role 'baseline', got none among"):
        judged([s for s in scored if s.role != "baseline"])
    with pytest.raises(ValueError, match="metric='f1': expected one of"):
        resample(scored, [PART], "f1", 10, 0)


def test_a_leak_group_is_drawn_as_often_in_every_split() -> None:
    one = held_out(100)
    twin = replace(one, split=1)
    scored = [s for s in sweep(one, seeds=1, backbones=("x",)) if s.arm == "real only"]
    first, second = resample([*scored, replace(scored[0], split=1)], [one, twin], "auc", 50, 0)
    assert isinstance(first, Resampled) and np.array_equal(first.again, second.again)


def test_a_held_out_set_of_unequal_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="'drawn': expected as many of each, got {'labels': 300, 'leak_groups': 299"):
        replace(PART, leak_groups=PART.leak_groups[1:])
