"""Augmentation of training images by torchvision's transforms v2, by name; torchvision takes seconds to import, which
who trains nothing need not wait.
"""

from typing import Any

import torch
from torch import Tensor

from dermray.classification.settings import Augmentation


class Dihedral(torch.nn.Module):
    """Each image of a batch in a random one of the square's eight orientations: a lesion has no upright one."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to the same."""
        found = torch.empty_like(images)
        drawn = torch.randint(8, (len(images),))
        for turned in drawn.unique().tolist():
            chosen = drawn == turned
            image = torch.rot90(images[chosen], turned % 4, (2, 3))
            found[chosen] = image.flip(3) if turned >= 4 else image
        return found


class EachImage(torch.nn.Module):
    """A transform that is drawn anew for every image of a batch."""

    def __init__(self, *transforms: Any) -> None:
        super().__init__()
        from torchvision.transforms import v2

        self.transform = v2.Compose(transforms)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to the same."""
        return torch.stack([self.transform(image) for image in images])


def preset(name: Augmentation, size: int) -> torch.nn.Module:
    """The transform of that name for batches (B, 3, size, size) uint8.

    paper_000 names rotation, width and height shift, zoom and horizontal flip, and no strengths: these are those of
    Keras' documentation (20 degrees, a fifth, a fifth). As there, what comes in from outside repeats the image's edge.
    """
    if name == "none":
        return torch.nn.Identity()
    if name == "flips":
        return Dihedral()
    from torchvision.transforms import v2

    if name == "paper_000":
        edge = size // 2
        shift = 0.2 * size / (size + 2 * edge)
        turned = v2.RandomAffine(20, (shift, shift), (0.8, 1.2), interpolation=v2.InterpolationMode.BILINEAR)
        return EachImage(v2.Pad(edge, padding_mode="edge"), turned, v2.CenterCrop(size), v2.RandomHorizontalFlip())
    crop = v2.RandomResizedCrop(size, scale=(0.6, 1), ratio=(0.8, 1.25), antialias=True)
    colour = v2.ColorJitter(brightness=0.15, contrast=0.15, saturation=0.15, hue=0.02)
    return torch.nn.Sequential(Dihedral(), EachImage(crop, colour))
