"""A classifier that the classify stage trained: what its last layer gets, and its logits.

Distances in an Inception that was fine-tuned on the real train split are paper 001's fine-tuned FID.
"""

import torch
from torch import Tensor, nn

from dermray import manifest, node_cache, storage, weights, weights_file
from dermray.classification import saved
from dermray.classification.features import WithFeatures
from dermray.datasets.decode import square
from dermray.features import pixels
from dermray.features.opened import Parts
from dermray.features.places import MODEL
from dermray.features.settings import ExtractorConfig

FIELD, STAGE, SYNTHETIC = "weights", "classify", "synthetic"


def check(config: ExtractorConfig) -> None:
    """By its manifest, its config.json and the header of its weights.

    Raises:
        FileNotFoundError, ValueError: no result there, another stage's, a damaged one, or one of a classifier that was
            trained on synthetic images too.
    """
    given, model = str(config.weights), _model(config)
    trained_on = manifest.read(given).manifest.inputs
    if SYNTHETIC in trained_on:
        raise ValueError(
            f"{FIELD}={given}: this classifier was trained on synthetic images too (result {trained_on[SYNTHETIC]}), "
            "and what it learned from them would count for them; give one that was trained on real images alone"
        )
    saved.require(weights.locate_small(model, FIELD))
    tensors = storage.join(model, saved.WEIGHTS)
    if not storage.exists(tensors):
        raise FileNotFoundError(f"{FIELD}={given}: {tensors} is missing; copy the result again")
    weights_file.check(tensors, f"{FIELD}={tensors}")


def open_parts(config: ExtractorConfig) -> Parts:
    """The network with its preparation, the classify stage's own; raises as `check` does."""
    check(config)
    loaded = saved.load(node_cache.local_copy(_model(config)))
    size = loaded.image_size
    mean, std = ([round(x, 6) for x in values.flatten().tolist()] for values in (loaded.model.mean, loaded.model.std))
    about = {
        "network": f"classifier {loaded.backbone.name.partition('.')[0]}",
        "arguments": loaded.backbone.arguments,
        "classes": list(loaded.target.classes),
        "images": {"size": size, "square": "central, bicubic by Pillow", "mean": mean, "std": std},
    }
    return Parts(
        f"classifier {loaded.backbone.name} of {loaded.target.column}",
        _FeaturesFirst(WithFeatures(loaded.model)),
        pixels.each(lambda picture: torch.from_numpy(square(picture, size))),
        about,
    )


class _FeaturesFirst(nn.Module):
    def __init__(self, both: WithFeatures) -> None:
        super().__init__()
        self.both = both

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits, features = self.both(images)
        if logits.shape[1] == 1:
            logits = torch.cat([-logits / 2, logits / 2], 1)  # whose softmax is the sigmoid
        return features, logits


def _model(config: ExtractorConfig) -> str:
    given = str(config.weights)
    result = manifest.read(given)
    if result.manifest.stage != STAGE:
        raise ValueError(
            f"{FIELD}={given}: result of stage {result.manifest.stage!r}, expected {STAGE!r}, whose classifier "
            "gives the features"
        )
    return storage.join(result.data, MODEL)
