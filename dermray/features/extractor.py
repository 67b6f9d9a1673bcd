"""A network whose features stand for images, opened by its config."""

from importlib import import_module
from types import ModuleType
from typing import Protocol

from torch import Tensor

from dermray.features import places
from dermray.features.settings import ExtractorConfig

MODULES = {  # each with check(config) and open_parts(config); imported when it is asked for
    "inception": "dermray.features.inception",
    "dinov2": "dermray.features.transformer",
    "clip": "dermray.features.transformer",
    "timm": "dermray.features.timm_backbone",
    "classifier": "dermray.classification.extractor",
}


class Extractor(Protocol):
    """Sees images of any size; resizes them as its network was trained, in its own way."""

    name: str  # in tables: "inception", "timm tf_efficientnet_lite0", ...
    hash: str  # of the weights and of how images are prepared: equal hashes give equal features
    width: int  # D

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 to features (B, D) float32 on the CPU."""

    def logits(self, images: Tensor) -> Tensor | None:
        """(B, classes) float32 for the Inception score, where the network has a head that was trained."""

    def both(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and logits in one pass."""


def check(config: ExtractorConfig) -> None:
    """Refuse before any expensive work what cannot be opened.

    Raises:
        FileNotFoundError: nothing is there. ValueError: weights of another network, or fields that do not go together.
        ImportError: weights of a package that is not here.
    """
    if config.kind != "judge":
        _module(config).check(config)
        places.require_unchanged(config)


def settled(config: ExtractorConfig) -> ExtractorConfig:
    """The config as every node opens the same by it, checked: an absolute place, and in `revision` the hub's commit or
    the files' fingerprint, which tells these weights from others in a result's key. A judge's is as it was.

    Raises:
        FileNotFoundError, ValueError, ImportError: as `check`.
    """
    check(config)
    return config if config.kind == "judge" else places.settled(config)


def open_extractor(config: ExtractorConfig, device: str = "cpu") -> Extractor:
    """The network with its weights, in evaluation mode. A judge is trained by the stage that needs it: see `judge`.

    Raises:
        FileNotFoundError, ValueError, ImportError: as `check`; and files that changed since `settled`.
    """
    if config.kind == "judge":
        raise ValueError("kind=judge: trained by the stage that needs it; expected a kind that is opened from weights")
    from dermray.features.opened import Opened

    places.require_unchanged(config)
    return Opened(_module(config).open_parts(config), device)


def _module(config: ExtractorConfig) -> ModuleType:
    return import_module(MODULES[config.kind])
