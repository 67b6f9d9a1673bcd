"""Small classifiers that have been validated, and images to ask them about."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dermray.backbones.networks import Backbone, build
from dermray.classification import saved
from dermray.classification.batches import InMemory
from dermray.classification.saved import Saved
from dermray.classification.targets import Target
from dermray.classification.training import probabilities
from dermray.classification.validated import validate
from dermray.datasets.decode import decode, png, square

ENTITIES = ("bcc", "mel", "nv")


def picture(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    """A blob on skin."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    inside = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (min(width, height) / rng.uniform(2.5, 5)) ** 2
    skin, lesion = rng.integers(150, 230, 3), rng.integers(20, 120, 3)
    pixels = np.where(inside[..., None], lesion, skin) + rng.normal(0, 6, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_validated(directory: Path, target: Target | None = None, size: int = 32) -> None:
    """A classifier with random weights of 40 training images and 30 validation images, about which it is unsure."""
    torch.manual_seed(0)
    directory.mkdir(parents=True)
    target = target or Target.of("malignant")
    backbone = Backbone(name="test_resnet", learning_rate=1e-3)
    model = build(backbone, target.outputs).eval()
    for parameter in model.network.get_submodule("fc").parameters():  # timm's are too near 0 to tell anything apart
        torch.nn.init.normal_(parameter, std=2)
    images = InMemory(np.stack([square(decode(png(picture(seed))), size) for seed in range(70)]))
    rows = np.arange(40, 70)
    scores = probabilities(model, images, rows)
    labels = np.where(np.arange(30) % 4 == 0, np.arange(30) % len(target.classes), scores.argmax(1))  # some wrong
    labels[: len(target.classes)] = np.arange(len(target.classes))
    said = validate(model, images, np.arange(40), (rows, labels), scores, 0)
    saved.save(directory, Saved(model, backbone, target, size, said))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
