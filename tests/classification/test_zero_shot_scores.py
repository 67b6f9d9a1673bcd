"""Which zero-shot scores of a sweep are there already."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dermray.classification import trial_files, zero_shot_scores
from dermray.classification.pools import Pools
from dermray.classification.prepare import Prepared
from dermray.classification.targets import Target
from dermray.classification.tuning_settings import TuneSettings
from dermray.classification.verdict import ZERO_SHOT
from dermray.classification.zero_shot import ZeroShot
from dermray.classification.zero_shot_scores import Baseline, baselines

MODEL = ZeroShot(name="tiny", model="m")


def key(given: ZeroShot = MODEL, revision: str | None = "r", size: int = 32, **shared: Any) -> str:
    [baseline] = baselines([(given, size, revision)], {"rows": "a"} | shared)
    return baseline.key


def test_a_key_says_what_the_scores_depend_on() -> None:
    others = [
        key(revision="s"), key(rows="b"), key(MODEL.model_copy(update={"templates": ("{}",)})),
        key(MODEL.model_copy(update={"prompts": {"malignant": ("melanoma",)}})),
    ]  # fmt: skip
    assert key() == key() and len({key(), *others}) == 5


def test_what_is_finished_is_not_scored_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline = Baseline("k", MODEL, 32, "r")
    prepared = Prepared(Target("malignant", ("a", "b")), Pools(str(tmp_path), {}, []), None, 0, 0, 0, {})
    trial_files.write(str(tmp_path), "k", baseline.named(), {"test": np.full((2, 2), 0.5)}, [])
    monkeypatch.setattr("dermray.classification.zero_shot_scores.fill", pytest.fail)
    zero_shot_scores.score([baseline], prepared, str(tmp_path), str(tmp_path), TuneSettings())
    assert trial_files.results(str(tmp_path), ["k"]) == [baseline.named()]


def test_its_scores_have_no_seed_real_image_or_chosen_threshold() -> None:
    values = np.full((2, 2), 0.5)
    scored = Baseline("k", MODEL, 32, "r").scored(values)
    assert (scored.arm, scored.role, scored.backbone) == ("zero-shot tiny", ZERO_SHOT, "tiny")
    assert (scored.real_images, scored.threshold) == (0, 0.5) and scored.probabilities is values
