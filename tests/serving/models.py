"""Small models in directories of their own, made in a second: what tests of the service serve."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dermray.backbones.networks import Backbone, Classifier, network_of
from dermray.classification import saved
from dermray.classification.saved import Saved
from dermray.classification.targets import Target
from dermray.generators.base import Request, family
from dermray.manifest import Manifest, Rows
from dermray.serving.opening import family_of
from dermray.serving.settings import ServedGenerator
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


def write_lora(directory: Path, family_name: str = "flux_lora", seed: int = 0, **settings: Any) -> None:
    """An adapter that a few steps have trained on the nano base, to draw images of one colour: the seed's."""
    torch.manual_seed(seed)
    cls: Any = family(family_name)
    length = {"max_sequence_length": 16} if family_name == "flux_lora" else {}
    config = cls.Config(**{"image_size": 32, "rank": 4, "alpha": 8} | length | settings)
    generator = cls.from_captions(config, CAPTIONS).train()
    images = torch.randint(0, 256, (1, 3, 1, 1), dtype=torch.uint8).expand(2, 3, 32, 32)
    batch = generator.collate(generator.encode(images.contiguous(), CAPTIONS))
    optimizer = torch.optim.Adam([p for p in generator.parameters() if p.requires_grad], 0.02)
    for _ in range(15):
        optimizer.zero_grad()
        generator(batch).backward()
        optimizer.step()
    generator.save(directory)


def as_result(directory: Path, model: Path, key: str, licences: list[str]) -> Path:
    """A model's directory as what a train stage leaves."""
    shutil.copytree(model, directory / "data" / "model")
    about = Manifest(
        stage="train", key=key, config={}, inputs={}, data="data", rows=Rows(rows_in=2, ok=2, rejected=0, failed=0),
        licences=licences, versions={}, started=0, seconds=0, cpus=0, gpus=0,
    )  # fmt: skip
    (directory / "manifest.json").write_text(about.model_dump_json())
    return directory


def drawn_alone(directory: Path, prompt: str, seed: int, steps: int) -> np.ndarray:
    """(H, W, 3): what `dermray generate` would draw with it, with the service's rows and guidance by default."""
    generator: Any = family(family_of(directory)).load(directory).eval()
    generator.rows = ServedGenerator.model_fields["rows"].default
    scale = ServedGenerator.model_fields["guidance_scale"].default
    [image] = generator.sample([Request(prompt, seed)], scale, steps)
    return np.asarray(image.permute(1, 2, 0).numpy())


def write_classifier(directory: Path, size: int = 32) -> None:
    """A binary classifier with random weights."""
    torch.manual_seed(0)
    directory.mkdir(parents=True)
    backbone, target = Backbone(name="test_resnet", learning_rate=1e-3), Target.of("malignant")
    network = network_of(backbone, target.outputs)
    model = Classifier(network, (0.5,) * 3, (0.5,) * 3)
    saved.save(directory, Saved(model.eval(), backbone, target, size))
