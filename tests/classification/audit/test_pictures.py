"""Where the truth is known: the renderer draws the same lesion on other skin."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dermray.classification.audit import lesions, pictures, shifts
from dermray.classification.audit.painters import by_renderer
from dermray.classification.audit.shifts import DEPENDS, INDEPENDENT
from dermray.classification.audit.wording import Attribute
from dermray.classification.saved import Saved
from dermray.classification.targets import Target
from dermray.datasets.decode import decode
from tests.classification.audit.conftest import SIDE, SMALL

TONE = Attribute.of("skin_tone", "ABC")


class Brightness(nn.Module):
    """A classifier whose only feature is the mean brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean((1, 2, 3))[:, None] / 255 + 0 * self.used


def audited(classifier: Saved, tolerance: float) -> dict[str, Any]:
    plan = lesions.from_truths(120, 0).to_pylist()
    rows = pictures.drawn(plan, [TONE], by_renderer(0, SIDE), classifier, 1).to_pylist()
    return shifts.analyse(pictures.scored(rows, [TONE]), [TONE], tolerance, 0)


@pytest.mark.slow
def test_a_classifier_trained_on_confounded_tones_is_caught(confounded: Saved) -> None:
    found = audited(confounded, tolerance=0.05)
    told = found["attributes"]["skin_tone"]
    assert told["verdict"] == DEPENDS and "higher as C than as A" in told["sentence"]
    assert told["pairs"][1]["low"] > 0.4, "by far"
    assert told["pairs"][1]["mean"] > 3 * found["floor"]["spread"]


@pytest.mark.slow
def test_a_classifier_trained_on_balanced_tones_passes(balanced: Saved) -> None:
    found = audited(balanced, tolerance=0.1)
    told = found["attributes"]["skin_tone"]
    assert told["verdict"] == INDEPENDENT
    assert all(abs(pair["mean"]) < 0.06 and pair["spread"] < found["floor"]["spread"] for pair in told["pairs"])


def test_rows_hold_what_was_drawn_and_scored() -> None:
    classifier = Saved(Brightness(), SMALL, Target.of("malignant"), SIDE)  # type: ignore[arg-type]  # no Classifier
    plan = lesions.from_truths(3, 0).to_pylist()
    rows = pictures.drawn(plan, [TONE], by_renderer(0, SIDE), classifier, 1).to_pylist()
    found = pictures.scored(rows, [TONE])
    for number, row in enumerate(rows):
        images = [np.asarray(decode(image), np.float64) for image in row["images"]]
        expected = [1 / (1 + math.exp(-image.mean() / 255)) for image in images]
        assert row["score"] == pytest.approx(expected) and len(images) == 4
        assert row["change"][1] == pytest.approx(np.sqrt(((images[1] - images[0]) ** 2).mean()))
        shown = {value: score for value, score in zip(row["value"], expected, strict=True) if value}
        shown[TONE.value_in(row["prompt"])] = expected[0]
        assert list(found.by_value["skin_tone"][number]) == pytest.approx([shown[tone] for tone in "ABC"])
        assert shown["A"] > shown["B"] > shown["C"], "skin darkens"
        assert (row["status"], row["reason"], row["attribute"][:2]) == ("ok", None, [None, None])


def test_a_score_that_is_no_number_fails_its_lesion() -> None:
    class Broken(Brightness):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * float("nan")

    classifier = Saved(Broken(), SMALL, Target.of("malignant"), SIDE)  # type: ignore[arg-type]  # no Classifier
    rows = pictures.drawn(lesions.from_truths(1, 0).to_pylist(), [TONE], by_renderer(0, SIDE), classifier, 1)
    assert rows["status"].to_pylist() == ["failed"] and rows["reason"].to_pylist() == ["a score is no number"]
