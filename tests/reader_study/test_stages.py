"""Behind the real stages: a generator draws, a classifier is trained, a reader and it are asked the same."""

from pathlib import Path

import pytest

from dermray import manifest
from dermray.classification import classify
from dermray.classification.classify_settings import ClassifyConfig
from dermray.config import validate
from dermray.reader_study import analyse, build
from dermray.reader_study.key import Shown
from dermray.reader_study.settings import AnalyseConfig, BuildConfig
from dermray.records import read_columns
from dermray.synthesis import run as synthesis
from dermray.synthesis.settings import SynthesisConfig
from tests.reader_study import made


@pytest.mark.slow
def test_a_study_of_what_the_stages_made(small_run: Path, tmp_path: Path) -> None:
    drawing = {"generator": f"{small_run}/train", "rows": f"{small_run}/caption", "count": 12, "sampling_steps": 1,
               "actors": 1, "gate": {"false_rate": 0, "training_steps": 10, "planted": 2},
               "output": f"{tmp_path}/generate"}  # fmt: skip
    synthesis.run(validate(SynthesisConfig, drawing))
    given = {"rows": f"{small_run}/caption", "synthetic": f"{tmp_path}/generate"}
    learning = {"output": f"{tmp_path}/classify", "backbone": {"name": "test_resnet", "learning_rate": 6e-3},
                "image_size": 32, "training": {"epochs": 1, "keep": "best"}}  # fmt: skip
    classify.run(validate(ClassifyConfig, learning | given))
    asked = {"column": "malignant", "originals_per_class": 4, "synthetic_per_class": 3, "side": 64}
    study = build.run(validate(BuildConfig, asked | given | {"output": f"{tmp_path}/study"}))
    assert study.manifest.metrics["warnings"] == [], "the generator's own rows, whose test split it has not seen"
    assert study.manifest.metrics["detail"] == 32 and study.manifest.rows.ok == 14
    told = made.opened(study)
    rows = manifest.read(f"{small_run}/caption").row_files()
    split = {row["sample_id"]: row["split"] for row in read_columns(rows, ["sample_id", "split"]).to_pylist()}
    assert {split[image.sample_id] for image in told.images if image.origin == "original"} == {"test"}

    def say(shown: Shown) -> dict[str, str]:
        return {"malignant": shown.truth, "origin": shown.origin}

    answers = {"study": study.uri, "answers": [made.answer(study, tmp_path / "ada.csv", say)], "resamples": 100}
    config = answers | {"classifiers": [f"{tmp_path}/classify"], "output": f"{tmp_path}/out"}
    found = analyse.run(validate(AnalyseConfig, config)).manifest.metrics
    assert found["classifiers"]["classify"]["seen"] is True
    assert found["comparisons"][0]["reader"] == 1.0
