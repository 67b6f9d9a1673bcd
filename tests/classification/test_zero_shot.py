"""Zero-shot classifiers say what open_clip's own code says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from dermray import storage
from dermray.classification import zero_shot
from dermray.classification.batches import InMemory
from dermray.classification.targets import Target
from dermray.classification.training import probabilities
from dermray.classification.zero_shot import TEMPLATES, ZeroShot
from dermray.config import ConfigError, validate
from tests.classification import tiny_clip

ENTITIES = Target("entity", ("bcc", "melanoma", "nevus"))
BINARY = Target("malignant", ("benign", "malignant"))
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 3, tiny_clip.SIZE, tiny_clip.SIZE), np.uint8)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.write(tmp_path_factory.mktemp("clip") / "tiny")


def given(model: object, **changes: Any) -> ZeroShot:
    return validate(ZeroShot, {"name": "tiny", "model": str(model)} | changes)


def scores(model: object, target: Target, **changes: Any) -> np.ndarray:
    classifier = zero_shot.load(given(model, **changes), target)
    return probabilities(classifier, InMemory(IMAGES), np.arange(len(IMAGES)), at_once=4)


def of_open_clip(directory: Path, names: list[str], templates: list[Any]) -> np.ndarray:
    """As open_clip's README and its zero-shot evaluation do it, from pictures."""
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{directory}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{directory}")
    weights = open_clip.build_zero_shot_classifier(model.eval(), tokenizer, names, templates)
    pictures = [preprocess(Image.fromarray(image.transpose(1, 2, 0))) for image in IMAGES]
    with torch.no_grad():
        features = model.encode_image(torch.stack(pictures), normalize=True)
        return np.asarray((model.logit_scale.exp() * features @ weights).softmax(-1).double())


def test_scores_are_those_of_open_clips_own_ensemble(directory: Path) -> None:
    found = scores(directory, ENTITIES)
    expected = of_open_clip(directory, list(ENTITIES.classes), list(TEMPLATES))
    assert found.shape == (7, 3) and found.dtype == np.float64
    assert np.allclose(found, expected, atol=1e-6) and np.allclose(found.sum(1), 1)
    assert found.std(axis=0).min() > 1e-3 and np.abs(found - 1 / 3).max() > 0.05, "images and words count"
    assert not np.allclose(found, of_open_clip(directory, list(ENTITIES.classes), list(TEMPLATES[:1])), atol=1e-3)


def test_a_class_of_several_names_is_the_mean_of_all_its_texts(directory: Path) -> None:
    prompts = {"malignant": ["melanoma", "skin cancer"], "benign": ["a mole"]}
    classifier = zero_shot.load(given(directory, prompts=prompts, templates=["a {} here", "one {}"]), BINARY)
    model = open_clip.create_model(f"local-dir:{directory}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{directory}")
    told = [["a a mole here", "one a mole"]]
    told += [["a melanoma here", "one melanoma", "a skin cancer here", "one skin cancer"]]
    assert classifier(torch.from_numpy(IMAGES)).shape == (7, 2), "with autograd on, too"
    for direction, texts in zip(classifier.directions, told, strict=True):
        with torch.no_grad():
            mean = torch.stack([v / v.norm() for v in model.encode_text(tokens(texts))]).mean(0)
        assert torch.allclose(direction, mean / mean.norm(), atol=1e-6)
    assert zero_shot.texts(given(directory), BINARY)[1][0] == "a photo of a malignant skin lesion"


def test_a_model_in_s3_says_the_same(
    directory: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMRAY_CACHE", str(tmp_path))
    place = f"{bucket}/clip"
    for file in directory.iterdir():
        storage.write_bytes(f"{place}/{file.name}", file.read_bytes())
    assert zero_shot.image_size(given(place)) == tiny_clip.SIZE
    assert not list(tmp_path.rglob("*.safetensors")), "the size needs no weights"
    assert np.array_equal(scores(place, BINARY), scores(directory, BINARY))
    assert zero_shot.revision(given(place)) == zero_shot.revision(given(directory)) is not None


def test_other_weights_are_another_revision_and_refused_in_between(directory: Path, tmp_path: Path) -> None:
    place = tiny_clip.write(tmp_path / "clip")
    before = zero_shot.revision(given(place))
    assert before == zero_shot.revision(given(directory))
    tiny_clip.write(tmp_path / "clip", seed=1)
    with pytest.raises(ValueError, match=r"zero_shot.model=.*its files have changed"):
        zero_shot.load(given(place), BINARY, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no config", "no open_clip model, since it has no open_clip_config.json; give a directory as open_clip"),
        ("other config", "expected JSON with model_cfg of embed_dim, vision_cfg and text_cfg"),
        ("no JSON", "expected JSON with model_cfg"),
        ("no weights", r"no weights there \(.safetensors, .bin, .pth\)"),
        ("oblong", r"takes images of \[32, 64\] px; expected a model of square ones"),
    ],
)
def test_what_is_no_model_is_told_without_loading_it(change: str, message: str, tmp_path: Path) -> None:
    place = tiny_clip.write(tmp_path / "clip")
    config = place / "open_clip_config.json"
    if change == "no config":
        config.unlink()
    elif change == "no weights":
        (place / "open_clip_model.safetensors").unlink()
    elif change == "oblong":
        oblong = json.loads(config.read_text())
        oblong["model_cfg"]["vision_cfg"]["image_size"] = [32, 64]
        config.write_text(json.dumps(oblong))
    else:
        config.write_text('{"architectures": ["CLIPModel"]}' if change == "other config" else "{")
    with pytest.raises(ValueError, match=message):
        zero_shot.image_size(given(place))


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    place = tiny_clip.write(tmp_path / "clip")
    other = json.loads((place / "open_clip_config.json").read_text())
    other["model_cfg"]["embed_dim"] = 8
    (place / "open_clip_config.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match=r"zero_shot.model=.*open_clip cannot load it: .*size mismatch"):
        zero_shot.load(given(place), BINARY)
    with pytest.raises(FileNotFoundError, match=r"zero_shot.model=/nowhere/clip: no such directory"):
        zero_shot.revision(given("/nowhere/clip"))


def test_words_that_fit_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="zero_shot tiny: prompts for mel, which entity does not have here; expected"):
        zero_shot.texts(given("m", prompts={"mel": ["melanoma"]}), ENTITIES)
    with pytest.raises(ConfigError, match=r"templates=.*expected one \{\} in each template.*got 'a lesion'"):
        given("m", templates=["a {}", "a lesion"])
    with pytest.raises(ConfigError, match="prompts=.*expected at least one name of the class 'bcc'"):
        given("m", prompts={"bcc": []})


def test_what_to_install_is_said_where_open_clip_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"zero_shot needs open_clip; pip install 'dermray\[zero-shot\]'"):
        zero_shot.image_size(given("m"))
