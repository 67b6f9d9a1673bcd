from typing import Any

import pytest

from dermray.papers.differences import NANO, Scale, reasons
from dermray.papers.measured import Measured
from dermray.papers.published import Cell
from dermray.papers.setting import Setting


def because(
    paper: dict[str, Any], ours: dict[str, Any], metric: str = "auc", scale: Scale = "paper", never: str | None = None,
    doubts: tuple[str, ...] = (),
) -> list[str]:  # fmt: skip
    """Reasons of a number whose data are the same on both sides."""
    theirs, own = Setting(data=("ddi",)), Setting(data=("ddi",))
    cell = Cell("T", "T", {}, "0.5", "", None, (), {"stage": "sweep"}, Setting(**paper).over(theirs), never, None, None)
    return reasons(cell, Measured({"metric": metric}, 0.5, setting=Setting(**ours).over(own), doubts=doubts), scale)


SAME: dict[str, Any] = {
    "images": 656, "real": "train", "extractor": "inception", "image_size": 256, "generator": "dermdit",
    "backbone": "resnext101", "real_images": 2500, "tested_on": "real",
}  # fmt: skip


def test_the_same_circumstances_can_be_compared() -> None:
    assert because(SAME, SAME | {"backbone": "resnext101_32x8d.tv_in1k", "images": 650, "split": "grouped"}) == []


@pytest.mark.parametrize(("paper", "ours", "said"), [
    ({}, {"data": ("ham10000", "ddi")}, "ours are images of ham10000, ddi, the paper's of ddi"),
    ({"split": "random"}, {"split": "grouped"}, "the paper splits at random"),
    ({"split": "official"}, {"split": "grouped"}, "published test splits as they are"),
    ({"split": "official"}, {"split": "random"}, "ours are drawn at random, image by image"),
    ({"split": "random"}, {"split": "official"}, "ours is the published test split"),
    ({"tested_on": "pool"}, {"tested_on": "real"}, "ours are tested on real ones"),
    ({"real": "train"}, {"real": "held_out"}, "ours with images that no generator saw"),
    ({"extractor": "Keras's Inception-v3"}, {"extractor": "inception"}, "other features: ours are of inception"),
    ({"image_size": 256}, {"image_size": 32}, "ours are images of 32 px, the paper's of 256"),
    ({"pairing": "not told"}, {"pairing": "prompt"}, "ours are compared with real images by the rule 'prompt'"),
    ({"generator": "glide"}, {"generator": "dermdit"}, "ours are drawn by dermdit, the paper's by glide"),
    ({"backbone": "resnext101"}, {"backbone": "test_resnet"}, "our classifier is test_resnet"),
    ({"threshold": "not told"}, {"threshold": "validation"}, "the paper's at one that it does not tell"),
    ({"real_images": 2500}, {"real_images": 50}, "ours learned from 50 real images, the paper's from 2,500"),
    ({"synthetic_images": 6000}, {"synthetic_images": 120}, "from 120 synthetic images, the paper's from 6,000"),
    ({"tested_data": ("asan",)}, {"tested_data": ("phantom",)}, "tested on images of phantom, the paper's on asan"),
    ({"images": 656}, {"images": 614}, "ours are measured on 614 images, the paper's on 656"),
])  # fmt: skip
def test_each_difference_is_a_reason(paper: dict[str, Any], ours: dict[str, Any], said: str) -> None:
    [reason] = because(paper, ours)
    assert said in reason
    if "tested_data" not in paper:
        assert because(paper, {}) == [], "what ours do not tell is no difference"


def test_ours_of_unknown_data_are_not_comparable() -> None:
    cell = Cell("T", "T", {}, "0.5", "", None, (), {}, Setting(data=("ddi",)), None, None, None)
    [reason] = reasons(cell, Measured({"metric": "auc"}, 0.5), "paper")
    assert reason.startswith("nothing tells of which data set")
    [tested] = because({"tested_data": ("asan",)}, {})
    assert tested == "nothing tells what ours are tested on; the paper's are tested on asan"


@pytest.mark.parametrize("metric", ["frechet_all", "frechet_distance", "inception_score"])
def test_what_is_biased_by_n_needs_both_numbers_of_the_paper(metric: str) -> None:
    [reason] = because({"images": 50_000}, {"images": 50_000, "of_real": 900}, metric)
    assert "the paper does not tell that of the real ones" in reason
    assert because({"images": 50_000}, {"images": 50_000, "of_real": 900}, "ms_ssim") == []
    [other] = because({"images": 9, "of_real": 1000}, {"images": 9, "of_real": 900}, metric)
    assert "ours are 900, the paper's 1,000" in other
    assert because({"images": 9, "of_real": 1000}, {"images": 9, "of_real": 1000}, metric) == []


def test_scale_what_is_never_comparable_and_doubts_of_ours_come_with_the_others() -> None:
    told = because({"image_size": 256}, {"image_size": 32}, scale="nano", never="nobody's", doubts=("few",))
    assert told == [NANO, "nobody's", "ours are images of 32 px, the paper's of 256", "few"]
