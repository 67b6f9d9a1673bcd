"""The small network of paper 000 (section 2.4): three convolutions with max pooling, dense 64, dropout 0.5.

The paper leaves open how many filters of which size there are and how large the images are: 32, 64 and 128 filters of
3 px, the usual ones of such networks, and 128 px unless `img_size` says otherwise. Pixels are divided by 255.
"""

from torch import Tensor, nn

NAME = "small_cnn"
IMAGE_SIZE = 128  # px
FILTERS = (32, 64, 128)
MEAN, STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


class SmallCnn(nn.Module):
    """(B, 3, S, S) in [0, 1] to (B, outputs) logits, for one S = img_size px."""

    pretrained_cfg = {"classifier": "head"}  # as timm says which layer a fresh one takes the place of

    def __init__(self, num_classes: int, img_size: int = IMAGE_SIZE) -> None:
        super().__init__()
        side = img_size // 2 ** len(FILTERS)
        if side < 1:
            raise ValueError(f"img_size={img_size}: expected at least {2 ** len(FILTERS)} px")
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *FILTERS), FILTERS, strict=False):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        dense = nn.Linear(FILTERS[-1] * side**2, 64)
        self.features = nn.Sequential(*layers, nn.Flatten(), dense, nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.features(images))
        return logits
