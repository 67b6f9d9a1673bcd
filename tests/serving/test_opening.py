"""Models by the ways in which a config names them, and places that hold none."""

import shutil
from pathlib import Path

import pytest
import torch

from dermray import storage
from dermray.classification import saved
from dermray.serving.opening import open_classifier, open_generator, place_of
from tests.serving.test_placing import scores


def upload(folder: Path, uri: str) -> str:
    for file in folder.iterdir():
        storage.write_bytes(storage.join(uri, file.name), file.read_bytes())
    return uri


def test_a_model_in_s3(served_models: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMRAY_CACHE", str(tmp_path))
    uri = upload(served_models / "classifier", f"{bucket}/models/c")
    place = place_of(uri, "classification")
    assert place.uri == uri and not list(tmp_path.rglob(saved.WEIGHTS)), "weights are read where they are served"
    here = open_classifier(place_of(str(served_models / "classifier"), "classification"))
    assert (scores(open_classifier(place).model) == scores(here.model)).all()
    assert place.version == place_of(str(served_models / "classifier"), "classification").version
    generator = place_of(upload(served_models / "generator", f"{bucket}/models/g"), "generation")
    assert open_generator(generator)[2] == "pixel_dermdit"
    with pytest.raises(FileNotFoundError, match=r"s3://"):
        place_of(f"{bucket}/models/other", "generation")


def test_a_model_of_the_hub(served_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From this machine's copy of it, as the hub's own client leaves one."""
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--clinic--melanoma"
    shutil.copytree(served_models / "classifier", repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    place = place_of("clinic/melanoma", "classification")
    assert (place.uri, place.version) == ("clinic/melanoma", commit)
    assert open_classifier(place).image_size == 32
    with pytest.raises(FileNotFoundError, match=r"clinic/other: the hub, .*, is out of reach .* has no copy; give"):
        place_of("clinic/other", "classification")


@pytest.mark.parametrize("task", ["generation", "classification"])
def test_what_is_no_model(served_models: Path, tmp_path: Path, task: str) -> None:
    kind = {"generation": "generator", "classification": "classifier"}[task]
    (tmp_path / "notes.txt").write_text("x")
    other = served_models / ({"generator", "classifier"} - {kind}).pop()
    for place in (tmp_path, tmp_path / "notes.txt", other):
        with pytest.raises(ValueError, match=f"no {kind} of dermray's"):
            place_of(str(place), task)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json: damaged, no JSON"):
        place_of(str(tmp_path), task)
    with pytest.raises(FileNotFoundError, match=r"models\.model=/nowhere/x: no such directory; give a model directory"):
        place_of("/nowhere/x", task)


def test_damaged_weights_are_named(served_models: Path, tmp_path: Path) -> None:
    shutil.copytree(served_models / "classifier", tmp_path / "c")
    weights = tmp_path / "c" / saved.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    place = place_of(str(tmp_path / "c"), "classification")
    with pytest.raises(Exception, match="(?i)incomplete|header|metadata"):
        open_classifier(place)
    assert torch.is_grad_enabled()
