"""Small models in directories of their own, made in a second: what tests of the service serve."""

import io
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from dermray.classification import saved
from dermray.classification.backbones import Backbone, Classifier, network_of
from dermray.classification.saved import Saved
from dermray.classification.targets import Target
from dermray.generators.base import family
from tests.generators.conftest import CAPTIONS

GENERATOR = {"image_size": 16, "stem_width": 8, "width": 32, "blocks": 1, "caption_length": 12}
PROMPT = "malignant, skin tone B: red."  # all of its words are known to the generator


def text_of(image: bytes) -> dict[str, str]:
    """The text chunks of a PNG."""
    with Image.open(io.BytesIO(image)) as opened:
        opened.load()
        return {name: str(value) for name, value in getattr(opened, "text", {}).items()}


def write_generator(directory: Path) -> None:
    """A pixel_dermdit with random weights that knows the words of two captions."""
    torch.manual_seed(0)
    cls: Any = family("pixel_dermdit")
    generator = cls.from_captions(cls.Config(**GENERATOR), CAPTIONS)
    for parameter in generator.parameters():  # a fresh one is zero at its end, and draws its noise whatever is asked
        torch.nn.init.normal_(parameter, std=0.1)
    generator.save(directory)


def write_classifier(directory: Path, size: int = 32) -> None:
    """A binary classifier with random weights."""
    torch.manual_seed(0)
    directory.mkdir(parents=True)
    backbone, target = Backbone(name="test_resnet", learning_rate=1e-3), Target.of("malignant")
    network = network_of(backbone, target.outputs)
    model = Classifier(network, (0.5,) * 3, (0.5,) * 3)
    saved.save(directory, Saved(model.eval(), backbone, target, size))
