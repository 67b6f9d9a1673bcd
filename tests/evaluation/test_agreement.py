from typing import Any

import pyarrow as pa
import pytest
import torch

from dermray.evaluation import agreement
from dermray.evaluation.agreement import clip_agreement
from dermray.evaluation.samples import Sample
from dermray.evaluation.settings import EvaluationConfig

CONFIG = EvaluationConfig(output="o", rows="r", synthetic="s", clip="/models/clip")


class Brightness:
    """Scores an image by whether its prompt tells its brightness."""

    def __init__(self, place: str, revision: str | None) -> None:
        assert (place, revision) == ("/models/clip", None)

    def __call__(self, images: list[Any], prompts: list[str]) -> list[float]:
        return [
            90.0 if prompt == str(int(image[0, 0, 0])) else 10.0 for image, prompt in zip(images, prompts, strict=True)
        ]


def test_own_prompts_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "ClipScore", Brightness)
    images = torch.arange(70, dtype=torch.uint8)[:, None, None, None].expand(70, 3, 4, 4)
    fake = Sample(pa.table({"prompt": [str(i) for i in range(70)]}), images)
    assert clip_agreement(fake, CONFIG) == {"images": 70, "mean": 90.0, "spread": 0.0, "other_prompts": 10.0}


def test_one_prompt_for_all_has_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "ClipScore", Brightness)
    fake = Sample(pa.table({"prompt": ["0"] * 5}), torch.zeros(5, 3, 4, 4, dtype=torch.uint8))
    found = clip_agreement(fake, CONFIG)
    assert found and found["mean"] == 90.0 and found["other_prompts"] is None


def test_none_without_a_clip() -> None:
    fake = Sample(pa.table({"prompt": ["0"]}), torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    assert clip_agreement(fake, EvaluationConfig(output="o", rows="r", synthetic="s")) is None
