from pathlib import Path

import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from dermray.evaluation.distribution import Distances, TooFew, compare, kernel_distance, precision_recall
from dermray.evaluation.extraction import PARTS, part
from dermray.evaluation.stored import Stored
from tests.evaluation.made_up import gaussian, stored


def measured(real: Stored, synthetic: Stored, min_images: int = 20, max_images: int = 2000) -> Distances:
    found = compare(real, synthetic, min_images, max_images)
    assert isinstance(found, Distances)
    return found


def theirs(a: np.ndarray, b: np.ndarray) -> float:
    statistics = [fid_features_to_statistics(torch.from_numpy(x).double()) for x in (a, b)]
    return float(fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"])


def test_everything_beside_its_floor_at_the_same_number(tmp_path: Path) -> None:
    real = stored(tmp_path / "real", gaussian(500, 16, 0))
    found = measured(real, stored(tmp_path / "other", gaussian(180, 16, 1, 0.5), name="s"))
    assert (found.images, found.real, found.synthetic, found.full_rank) == (180, 500, 180, True)
    assert found.frechet_distance > 3 * found.frechet_floor
    assert found.frechet_interval and found.frechet_interval[0] < found.frechet_distance < found.frechet_interval[1]
    assert found.frechet_excess_interval and found.frechet_excess_interval[0] > 0
    assert found.kernel_distance > 10 * abs(found.kernel_floor)
    assert found.precision < found.precision_floor and found.sample == 180
    same = measured(real, stored(tmp_path / "same", gaussian(250, 16, 1), name="s"))
    assert 0.5 < same.frechet_distance / same.frechet_floor < 2
    assert same.frechet_excess_interval and same.frechet_excess_interval[0] < 0 < same.frechet_excess_interval[1]


def test_values_are_torch_fidelitys_on_the_same_features(tmp_path: Path) -> None:
    a, b = gaussian(300, 12, 0), gaussian(200, 12, 1, 0.3)
    real, synthetic = stored(tmp_path / "a", a), stored(tmp_path / "b", b, name="s", rows_per_file=7)
    found = measured(real, synthetic, max_images=60)
    assert found.frechet_all == pytest.approx(theirs(a, b), rel=1e-6)
    halves = [real.least(found.images, half) for half in (0, 1)]
    drawn = synthetic.least(found.images)
    assert [len(side) for side in (*halves, drawn)] == [found.images] * 3
    assert found.frechet_distance == pytest.approx(theirs(halves[0], drawn), rel=1e-6)
    assert found.frechet_floor == pytest.approx(theirs(*halves), rel=1e-6)
    first, second = (torch.from_numpy(side[:60]) for side in (halves[0], drawn))
    assert found.sample == 60
    assert (found.kernel_distance, found.kernel_spread) == kernel_distance(first, second)
    assert (found.precision, found.recall) == precision_recall(second, first)


def test_rows_of_a_leak_group_lie_in_one_half(tmp_path: Path) -> None:
    features = np.repeat(gaussian(60, 4, 0), 4, axis=0)
    real = stored(tmp_path / "real", features, leak_groups=[f"lesion {i // 4}" for i in range(240)])
    halves = [real.least(real.count(half), half) for half in (0, 1)]
    assert len(halves[0]) + len(halves[1]) == 240 and len(halves[0]) % 4 == 0
    assert not {tuple(row) for row in halves[0].tolist()} & {tuple(row) for row in halves[1].tolist()}


def test_few_leak_groups_give_a_distance_without_an_interval(tmp_path: Path) -> None:
    names = [next(f"lesion {i}" for i in range(99) if part(f"lesion {i}") // PARTS == half) for half in (0, 1)]
    real = stored(tmp_path / "real", gaussian(120, 4, 0), leak_groups=[names[i % 2] for i in range(120)])
    assert {real.count(0), real.count(1)} == {60}
    found = measured(real, stored(tmp_path / "s", gaussian(80, 4, 1), name="s"))
    assert found.frechet_interval is None and found.frechet_distance > 0


def test_a_group_is_measured_by_its_own_images(tmp_path: Path) -> None:
    shift = np.repeat([[0.0], [3.0]], 200, axis=0).astype(np.float32)
    names = ["nv"] * 200 + ["mel"] * 190 + [None] * 10
    real = stored(tmp_path / "real", gaussian(400, 6, 0) + shift, groups={"entity": names})
    alone = stored(tmp_path / "alone", gaussian(400, 6, 0)[:200])
    fake = stored(tmp_path / "fake", gaussian(100, 6, 1), name="s", groups={"entity": ["nv"] * 100})
    assert real.groups("entity") == ["mel", "nv"] and fake.groups("entity") == ["nv"]
    found = measured(real.of("entity", "nv"), fake.of("entity", "nv"))
    assert found.frechet_all == pytest.approx(measured(alone, fake).frechet_all, rel=1e-9)
    none = compare(real.of("entity", "mel"), fake.of("entity", "mel"), 20, 100)
    assert isinstance(none, TooFew) and "0 synthetic ones" in none.not_computed


def test_fewer_images_than_dimensions_are_said(tmp_path: Path) -> None:
    found = measured(stored(tmp_path / "r", gaussian(90, 64, 0)), stored(tmp_path / "s", gaussian(40, 64, 1), name="s"))
    assert not found.full_rank and found.frechet_floor > 10


def test_too_few_images_give_no_distance_and_say_why(tmp_path: Path) -> None:
    real, fake = stored(tmp_path / "r", gaussian(50, 4, 0)), stored(tmp_path / "s", gaussian(19, 4, 0), name="s")
    found = compare(real, fake, 20, 100)
    assert isinstance(found, TooFew)
    assert found.not_computed.endswith("19 synthetic ones: expected at least 20 in each (min_images)")
    assert isinstance(compare(real, fake, 19, 100), Distances)


def test_kernel_distance_has_no_such_bias() -> None:
    shown = [torch.from_numpy(gaussian(300, 32, seed, shift)) for seed, shift in ((0, 0.0), (1, 0.0), (1, 1.0))]
    assert abs(kernel_distance(shown[0], shown[1])[0]) < 0.02
    assert kernel_distance(shown[0], shown[2])[0] > 0.3


def test_precision_and_recall_tell_fidelity_from_variety() -> None:
    real = torch.from_numpy(gaussian(400, 2, 0))
    narrow, wide = real * 0.1, torch.from_numpy(gaussian(400, 2, 1)) * 10
    assert precision_recall(narrow, real)[0] > 0.95 > 0.5 > precision_recall(narrow, real)[1]
    assert precision_recall(wide, real)[1] > 0.5 > precision_recall(wide, real)[0]
