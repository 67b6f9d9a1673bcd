"""The judge of photographs: what it reads stands beside a guess, and labels may be few or none."""

from typing import Any

import pyarrow as pa
import pytest
import torch

from dermray.config import validate
from dermray.evaluation import judged
from dermray.evaluation.settings import EvaluationConfig

IMAGES = torch.randint(0, 256, (80, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def config(extractor: dict[str, str]) -> EvaluationConfig:
    given = {"output": "o", "rows": "my/rows", "synthetic": "s", "judge_steps": 10, "extractors": [extractor]}
    return validate(EvaluationConfig, given)


def labels(*known: Any) -> pa.Table:
    return pa.table({"malignant": pa.array([*known, *[None] * (len(IMAGES) - len(known))], pa.bool_())})


def test_what_it_reads_stands_beside_always_guessing_the_commonest() -> None:
    table = labels(*[False] * 30, *[True] * 10)
    judge = judged.train_on_labels(IMAGES, table, config({"kind": "judge"}))
    found = judged.quality(judge, (IMAGES, table))
    assert found["majority_guess"] == {"malignant": 0.75, "mean": 0.75} and found["judge"] == judged.PHOTOGRAPHS
    assert judged.quality(judge, (IMAGES, labels()))["judge_accuracy"] == {}, "of images whose label nobody knows"
    assert judged.quality(judge, None)["judge_accuracy"] == {}, "it learned from all there are"
    assert judged.read_back(judge, IMAGES, labels()) == {}


def test_two_labels_of_many_rows_are_enough_to_learn_from() -> None:
    """A batch without any label is no loss, and no step."""
    table, images = pa.concat_tables([labels(True, False), *[labels()] * 19]), IMAGES.repeat(20, 1, 1, 1)
    judge = judged.train_on_labels(images, table, config({"kind": "judge"}))
    assert all(weights.isfinite().all() for weights in judge.parameters())


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_without_any_label_nothing_is_read_back(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="none of 80 rows of my/rows's train split has a label; give other extractors"):
        judged.train_on_labels(IMAGES, labels(), config({"kind": "judge"}))
    judged.save(judged.train_on_labels(IMAGES, labels(), config({"kind": "clip", "weights": "w"})), f"{tmp_path}/judge")
    judge = judged.load(f"{tmp_path}/judge")
    assert judged.read_back(judge, IMAGES, labels(True)) == {}
    assert judged.quality(judge, (IMAGES, labels(True))) == {
        "judge": judged.NONE, "judge_accuracy": {}, "majority_guess": {}
    }  # fmt: skip
