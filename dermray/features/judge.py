"""A small classifier trained on real images that judges synthetic ones: its answers, and its features.

On phantoms it reads the attributes that were requested; on photographs it predicts the label. It is trained
apart from the captioner and the generator and never sees their images.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dermray.datasets.renderer import Truth, draw_phantoms
from dermray.features.opened import Opened, Parts
from dermray.records import COLOURS, SKIN_TONES

PHANTOM_HEADS = {"asymmetry": 2, "border": 2, "skin_tone": len(SKIN_TONES), **dict.fromkeys(COLOURS, 2)}
FEATURES = 128
MISSING = -1  # target of an unknown label: no loss


class Judge(nn.Module):
    """Convolutional classifier with several heads over one feature vector."""

    def __init__(self, heads: dict[str, int], width: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.features = nn.Sequential(_stage(3, width, 2), _stage(width, 2 * width, 2), _stage(2 * width, FEATURES, 2))
        self.classify = nn.Linear(2 * FEATURES, sum(heads.values()))

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 to (B, 256) float32: means and maxima over positions."""
        maps = self.features(images.float() / 127.5 - 1)
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Logits (B, classes), one tensor per head."""
        return list(self.classify(self.embed(images)).split(list(self.heads.values()), 1))


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


@dataclass(frozen=True)
class Labelled:
    """Images with targets."""

    images: Tensor  # (N, 3, H, W) uint8
    targets: Tensor  # (N, heads) int64, MISSING where unknown


def phantom_targets(truth: Truth) -> list[int]:
    """One target per head of PHANTOM_HEADS."""
    return [
        int(truth.asymmetry),
        int(truth.border_irregular),
        SKIN_TONES.index(truth.skin_tone),
        *(int(colour in truth.colours) for colour in COLOURS),
    ]


def draw_labelled(seed: int, count: int, size: int) -> Labelled:
    """Fresh phantoms with decorrelated attributes."""
    drawn = list(draw_phantoms(seed, count, size))
    images = torch.stack([torch.from_numpy(r.image).permute(2, 0, 1) for _, r in drawn])
    return Labelled(images, torch.tensor([phantom_targets(t) for t, _ in drawn]))


def fit(data: Labelled, heads: dict[str, int], steps: int, seed: int, batch_size: int = 64) -> Judge:
    """Train on `data` with quarter turns and mirroring; one-cycle learning rate."""
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    model = Judge(heads)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.2)
    for _ in range(steps):
        index = torch.randint(len(data.images), (batch_size,), generator=order)
        images = torch.rot90(data.images[index], int(torch.randint(4, (1,), generator=order)), (2, 3))
        targets = data.targets[index]
        losses = [F.cross_entropy(x, y, ignore_index=MISSING) for x, y in zip(model(images), targets.T, strict=True)]
        loss = torch.stack([part for part in losses if not part.isnan()]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.inference_mode()
def predict(model: Judge, images: Tensor) -> Tensor:
    """(N, heads) int64 answers."""
    parts = [torch.stack([x.argmax(1) for x in model(batch)], 1) for batch in images.split(256)]
    return torch.cat(parts)


@torch.inference_mode()
def features(model: Judge, images: Tensor) -> Tensor:
    """(N, 256) float32."""
    return torch.cat([model.embed(batch) for batch in images.split(256)])


def attribute_accuracy(heads: dict[str, int], said: Tensor, wanted: Tensor) -> dict[str, float]:
    """Share of images whose attribute was read as wanted; `colours` asks for the exact set; rows unknown are left out,
    and so is an attribute that is unknown in all.

    Args:
        said, wanted: (N, heads) int64; MISSING in `wanted` where nothing was asked for.
    """
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(heads):
        groups.setdefault("colours" if name in COLOURS else name, []).append(i)
    result = {}
    for name, columns in groups.items():
        known = (wanted[:, columns] != MISSING).all(1)
        if known.any():
            result[name] = float((said[known][:, columns] == wanted[known][:, columns]).all(1).float().mean())
    return result | {"mean": sum(result.values()) / len(result)} if result else {}


def extractor_of(model: Judge, device: str = "cpu") -> Opened:
    """A trained judge as an Extractor, which freezes it. Images keep their size; logits: of a judge with one head."""
    stated = {"network": "judge", "heads": model.heads}
    return Opened(Parts("judge", _Judged(model), lambda images: images, stated), device)


class _Judged(nn.Module):
    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self.judge = judge

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        seen = self.judge.embed(images)
        return seen, self.judge.classify(seen) if len(self.judge.heads) == 1 else None
