import pytest
import torch

from dermray.features.judge import (
    MISSING,
    PHANTOM_HEADS,
    Labelled,
    attribute_accuracy,
    draw_labelled,
    features,
    fit,
    predict,
)
from dermray.records import COLOURS


def test_it_learns_what_it_is_shown() -> None:
    data = draw_labelled(1, 600, 32)
    judge = fit(data, PHANTOM_HEADS, steps=70, seed=0)
    fresh = draw_labelled(2, 200, 32)
    found = attribute_accuracy(PHANTOM_HEADS, predict(judge, fresh.images), fresh.targets)
    assert found["skin_tone"] > 0.9 and found["mean"] > 0.6
    assert features(judge, fresh.images).shape == (200, 256)


def test_colours_ask_for_the_exact_set_and_unknown_rows_are_left_out() -> None:
    wanted = torch.zeros(3, len(PHANTOM_HEADS), dtype=torch.int64)
    said = wanted.clone()
    said[0, list(PHANTOM_HEADS).index(COLOURS[2])] = 1
    wanted[2] = MISSING
    wanted[2, 0] = 1
    found = attribute_accuracy(PHANTOM_HEADS, said, wanted)
    assert found["colours"] == 0.5 and found["asymmetry"] == pytest.approx(2 / 3) and found["skin_tone"] == 1
    assert found["mean"] == pytest.approx((0.5 + 2 / 3 + 1 + 1) / 4)


def test_missing_labels_give_no_loss() -> None:
    data = draw_labelled(1, 64, 16)
    targets = torch.full((64, 1), MISSING)
    targets[:8, 0] = 1
    assert fit(Labelled(data.images, targets), {"malignant": 2}, steps=10, seed=0)
