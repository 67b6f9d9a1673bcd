"""A gate over phantoms, made by the stage's own functions without Ray."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pytest
import torch
from torch import Tensor

from dermray.datasets.renderer import draw_phantoms
from dermray.features.settings import ExtractorConfig
from dermray.synthesis.gate import building, network
from dermray.synthesis.gate.calibration import FILE, Calibration
from dermray.synthesis.gate.gate import NETWORK
from dermray.synthesis.gate.index import VERSION, About

IMAGES, UNSEEN = 90, 10


@dataclass(frozen=True)
class Made:
    """A gate's directory, and the images that it knows and that it does not."""

    uri: str
    training: Tensor  # (N, 3, 32, 32) uint8
    unseen: Tensor
    ids: list[str]


def make(place: Path, training: Tensor) -> list[str]:
    """An index of these images in two shards, and thresholds that the network need not have deserved; their ids."""
    place.mkdir(parents=True)
    network.save(network.fit(training, 2, 0), place / NETWORK)
    ids, count = [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in training], 0
    half, config = (len(ids) + 1) // 2, ExtractorConfig()
    for number in range(2 if len(ids) > 1 else 1):
        part = slice(half * number, half * (number + 1))
        pixels = pa.array([image.numpy().tobytes() for image in training[part]], pa.binary())
        feather.write_feather(pa.table({"sample_id": ids[part], "pixels": pixels}), place / "shard", "uncompressed")
        shard = building.Shard(str(place / "shard"), training.shape[-1])
        described, hashed = building.described_shard(shard, number, str(place), config)
        count += described
    about = About(version=VERSION, generator="g", images=count, extractor=config.model_dump(mode="json"),
                  extractor_name="copies", extractor_hash=hashed)  # fmt: skip
    building.joined(str(place), about)
    calibration = Calibration(false_rate=0.01, pixels=0.4, embedding=0.1, images=500, bound=0.01)
    (place / FILE).write_text(calibration.model_dump_json())
    return ids


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Shared: not to be written to."""
    place = tmp_path_factory.mktemp("gate") / "gate"
    images = np.stack([drawn.image for _, drawn in draw_phantoms(7, IMAGES + UNSEEN, 32)])
    both = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return Made(str(place), both[:IMAGES], both[IMAGES:], make(place, both[:IMAGES]))
