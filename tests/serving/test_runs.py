"""Which models of a run are served."""

import json
from pathlib import Path
from typing import Any

import pytest

from dermray import manifest
from dermray.captioning.settings import VllmConfig
from dermray.config import ConfigError, validate
from dermray.serving.opening import place_of
from dermray.serving.run import said
from dermray.serving.runs import with_models_of_run
from dermray.serving.settings import ServiceConfig
from tests.serving.models import write_classifier, write_generator


def finished(run: Path, stage: str, config: dict[str, Any], name: str | None = None, **inputs: str) -> str:
    """A stage's result with a real model; its key."""
    name = name or stage
    with manifest.work(stage, str(run / name), validate(ServiceConfig, {"run": "x"}), {}) as work:
        (write_generator if stage == "train" else write_classifier)(Path(work.data) / "model")
        result = work.commit(manifest.Rows(rows_in=1, ok=1, rejected=0, failed=0), 1)
    path = run / name / "manifest.json"  # the config of a stage that was not run here
    path.write_text(json.dumps(json.loads(path.read_text()) | {"config": config, "inputs": inputs}))
    return result.manifest.key


def served(run: Path, *models: dict[str, Any]) -> ServiceConfig:
    return with_models_of_run(validate(ServiceConfig, {"run": str(run), "models": models}))


def test_a_generator_alone_is_served_and_said(tmp_path: Path) -> None:
    key = finished(tmp_path, "train", {"family": "pixel_dermdit"})
    config = served(tmp_path)
    assert [model.name for model in config.models] == [f"pixel_dermdit-{key}"]
    told = said(config, "127.0.0.1", 8000)
    assert "no model for classification: /v1/classifications answers 404" in told[-2]
    assert "no model for captioning: /v1/captions answers 404; captioner=true serves a run's" in told[-1]


def test_all_models_of_a_run_behind_those_that_are_named(tmp_path: Path) -> None:
    finished(tmp_path, "train", {"family": "pixel_dermdit"})
    finished(tmp_path, "sweep", {"backbones": [{"name": "test_resnet"}, {"name": "other"}]})
    key = finished(tmp_path, "classify", {"backbone": {"name": "resnet50.a1_in1k"}})
    config = served(tmp_path, {"task": "classification", "name": "own", "model": "x"})
    assert [model.name.split("-")[0] for model in config.models] == [
        "own", "pixel_dermdit", "test_resnet", "resnet50.a1_in1k",
    ]  # fmt: skip
    assert config.models[-1].name.endswith(key)
    for model in config.models[1:]:
        assert place_of(model.source, model.task).uri.endswith("/model")
    assert [line.split()[3] for line in said(config, "127.0.0.1", 8000) if "404" in line] == ["captioning:"]


def test_every_generator_of_a_run_is_served_whatever_it_is_named(tmp_path: Path) -> None:
    finished(tmp_path, "train", {"family": "dermdit"}, "small")
    finished(tmp_path, "sweep", {"backbones": [{"name": "test_resnet"}]}, "figure_4")
    finished(tmp_path, "train", {"family": "glide"}, "large")
    assert [m.name.split("-")[0] for m in served(tmp_path).models] == ["glide", "dermdit", "test_resnet"]


def test_a_name_of_the_run_given_again(tmp_path: Path) -> None:
    key = finished(tmp_path, "train", {"family": "pixel_dermdit"})
    with pytest.raises(ConfigError, match=f"got pixel_dermdit-{key} twice"):
        served(tmp_path, {"task": "generation", "name": f"pixel_dermdit-{key}", "model": "x"})


def test_runs_without_models(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no finished stage of train, sweep, classify; give a finished"):
        served(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"run=/nowhere: no such directory"):
        served(Path("/nowhere"))
    (tmp_path / "train").mkdir()
    with pytest.raises(FileNotFoundError, match="no finished stage"):
        served(tmp_path)


def with_captioner(run: Path, **more: Any) -> ServiceConfig:
    return with_models_of_run(validate(ServiceConfig, {"run": str(run), "captioner": True} | more))


def test_a_run_s_captioner_is_served_where_it_is_asked_for(tmp_path: Path) -> None:
    finished(tmp_path, "train", {"family": "pixel_dermdit"})
    with pytest.raises(FileNotFoundError, match="captioner=true: .* has no finished captioner stage; leave it out"):
        with_captioner(tmp_path)
    key = finished(tmp_path, "captioner", {})
    assert [model.task for model in served(tmp_path).models] == ["generation"]
    assert with_captioner(tmp_path).models[1].name == f"captioner-{key}"
    engine = VllmConfig(replicas=2, gpus=0.5, tensor_parallel_size=2, kv_cache_gib=0.125).model_dump(mode="json")
    asked = {"prompt_set": "structured", "metadata": [], "sampling": {"max_tokens": 99}, "image_side": 64}
    finished(tmp_path, "caption", asked | {"engine": engine, "prompt_set": "abc"}, captioner="another")
    finished(tmp_path, "caption", asked | {"engine": engine}, "said", captioner=key)
    config = with_captioner(tmp_path)
    captioner: Any = config.models[1]
    assert (captioner.prompt_set, captioner.metadata, captioner.image_side) == ("structured", (), 64)
    assert (captioner.sampling.max_tokens, captioner.engine.kv_cache_gib, captioner.gpus_per_replica) == (99, 0.125, 1)
    assert not config.captioner and config.run is None
    assert not [line for line in said(config, "127.0.0.1", 8000) if "captioning: " in line]
    path = tmp_path / "said" / "manifest.json"
    path.write_text(path.read_text().replace(key, "another"))
    other: Any = with_captioner(tmp_path).models[1]
    assert other.prompt_set == "abc", "another captioner wrote these captions"


def test_a_captioner_of_no_run() -> None:
    with pytest.raises(ConfigError, match="captioner=true: is about the captioner of a `run`"):
        validate(ServiceConfig, {"captioner": True, "models": [{"task": "captioning", "name": "n", "model": "/x"}]})
