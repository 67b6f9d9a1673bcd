"""A classifier's own features: what its last layer gets, beside its logits and in the same pass."""

import numpy as np
import torch
from torch import Tensor, nn

from dermray.backbones import pretrained
from dermray.backbones.networks import Classifier
from dermray.classification.batches import Pixels

AT_ONCE = 64  # images


class WithFeatures(nn.Module):
    """(B, 3, S, S) uint8 to logits (B, outputs) and features (B, F)."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.seen: Tensor | None = None
        head = pretrained.head_of(classifier.network)[0]
        self.hook = classifier.network.get_submodule(head).register_forward_pre_hook(self._keep)

    def _keep(self, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        self.seen = given[0]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        logits = self.classifier(images)
        features, self.seen = self.seen, None  # not held until the next batch
        assert features is not None
        return logits, features.flatten(1)


@torch.inference_mode()
def features_of(classifier: Classifier, pixels: Pixels, rows: np.ndarray) -> np.ndarray:
    """(N, F) float32 of images by their numbers, by a classifier in evaluation mode."""
    both, device = WithFeatures(classifier), next(classifier.parameters()).device
    try:
        parts = [
            both(torch.from_numpy(pixels.pixels(rows[start : start + AT_ONCE])).to(device))[1].float().cpu().numpy()
            for start in range(0, len(rows), AT_ONCE)
        ]
    finally:
        both.hook.remove()
    return np.concatenate(parts)
