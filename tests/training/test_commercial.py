"""A config that asks for commercial use refuses results whose licences forbid it, before anything starts."""

from pathlib import Path
from typing import Any

import pytest

from dermray.classification.classify import run as classify
from dermray.classification.classify_settings import ClassifyConfig
from dermray.config import Config, ConfigError, load, preset
from dermray.manifest import Manifest, Rows
from dermray.synthesis.run import run as generate
from dermray.synthesis.settings import SynthesisConfig
from dermray.training.run import TrainConfig
from dermray.training.run import run as train


def result(uri: Path, stage: str, *licences: str, **inputs: str) -> str:
    """A finished result that has nothing but its manifest."""
    rows = Rows(rows_in=1, ok=1, rejected=0, failed=0)
    told: dict[str, Any] = {
        "stage": stage,
        "key": stage,
        "config": {},
        "inputs": inputs,
        "data": "data",
        "versions": {},
    }
    uri.mkdir()
    made = Manifest(**told, rows=rows, licences=list(licences), started=0, seconds=0, cpus=0, gpus=0)
    (uri / "manifest.json").write_text(made.model_dump_json())
    return str(uri)


def config(cls: type[Any], name: str, folder: Path, **given: str) -> Any:
    told = [f"{key}={value}" for key, value in {"output": f"{folder}/out", "commercial_use": "true", **given}.items()]
    return load(cls, preset(name), told)


def test_training_refuses_captions_of_images_that_forbid_it(tmp_path: Path) -> None:
    rows = result(tmp_path / "caption", "caption", "CC-BY-4.0", "CC-BY-NC-4.0")
    with pytest.raises(ConfigError, match=r"commercial_use=true: .*caption: CC-BY-NC-4.0 \(non-commercial\). Leave"):
        train(config(TrainConfig, "train/pixel_dermdit_nano", tmp_path, rows=rows))
    assert not (tmp_path / "out").exists()


def test_drawing_refuses_a_generator_of_unknown_licence(tmp_path: Path) -> None:
    generator = result(tmp_path / "train", "train", "CC0-1.0", "unknown", rows="caption")
    rows = result(tmp_path / "caption", "caption", "CC0-1.0")
    with pytest.raises(ConfigError, match="commercial_use=true: .*train: no licence is stated"):
        generate(config(SynthesisConfig, "generate/nano", tmp_path, rows=rows, generator=generator))


def test_a_classifier_refuses_rows_and_synthetic_images(tmp_path: Path) -> None:
    rows = result(tmp_path / "ingest", "ingest", "CC0-1.0")
    drawn = result(tmp_path / "generate", "generate", "CC-BY-NC-SA-3.0", rows="ingest")
    with pytest.raises(ConfigError, match="generate: CC-BY-NC-SA-3.0 .non-commercial."):
        classify(config(ClassifyConfig, "classify/nano", tmp_path, rows=rows, synthetic=drawn))
    other = result(tmp_path / "ddi", "ingest", "LicenseRef-DDI-research-use")
    with pytest.raises(ConfigError, match="ddi: LicenseRef-DDI-research-use .research only."):
        classify(config(ClassifyConfig, "classify/nano", tmp_path, rows=other))


@pytest.mark.parametrize("cls", [TrainConfig, SynthesisConfig, ClassifyConfig])
def test_nobody_is_refused_who_does_not_ask(cls: type[Config]) -> None:
    assert cls.model_fields["commercial_use"].default is False
