from pathlib import Path

import pytest
import timm
import torch

from dermray.backbones.networks import Backbone, build, input_of
from dermray.classification import saved
from dermray.classification.saved import Saved
from dermray.classification.targets import Target


def test_a_saved_classifier_is_the_same_and_timm_reads_it(tmp_path: Path) -> None:
    given = Backbone(name="test_efficientnet", weights="timm", learning_rate=1e-3)
    random = given.model_copy(update={"weights": "random"})
    model = build(random, 3).eval()
    target = Target("entity", ("bcc", "mel", "nv"))
    saved.save(tmp_path, Saved(model, given, target, 32))
    found = saved.load(tmp_path)  # asks no hub for timm's weights
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(found.model(images), model(images)) and not found.model.training
    assert (found.backbone, found.target, found.image_size) == (given, target, 32)
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    shown = timm.data.resolve_model_data_config(theirs)
    assert (tuple(shown["mean"]), tuple(shown["std"])) == input_of(random)[1:] and shown["input_size"][-1] == 32
    normalised = (images.float() / 255 - model.mean) / model.std
    assert torch.allclose(theirs(normalised), model(images), atol=1e-6)
    (tmp_path / "config.json").write_text('{"architecture": "test_efficientnet"}')
    with pytest.raises(ValueError, match="did not save; give it as backbone.weights"):
        saved.load(tmp_path)
