"""The Inception of 2015 by which FID, KID and IS are published: torch-fidelity's network, with weights from a file.

It is TensorFlow's graph and no network of torchvision's or timm's: their Inceptions share the names of its layers, but
not its pooling, its 1,008 logits or its preparation. Images are stretched to 299 px bilinearly without antialiasing.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from dermray import storage, weights
from dermray.backbones import pretrained
from dermray.features.opened import Parts
from dermray.features.settings import ExtractorConfig

FIELD = "weights"
OUTPUTS = ("2048", "logits_unbiased")  # of FID and KID, and of IS
FILE = "weights-inception-2015-12-05-6726825d.pth"
PUBLISHED = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"  # SHA-256 of it
ABOUT = {"network": "torch-fidelity inception-v3-compat", "images": "299 px, bilinear as TensorFlow 1, (x - 128) / 128"}


def check(config: ExtractorConfig) -> None:
    """Raises FileNotFoundError, ValueError: no file with this network's weights."""
    _tensors(config, _file(config))


def open_parts(config: ExtractorConfig) -> Parts:
    """The network. It prepares images itself; raises as `check` does."""
    file, safe = _file(config), io.BytesIO()
    torch.save(_tensors(config, file), safe)  # torch-fidelity unpickles a file, which runs what is in it: so only this
    safe.seek(0)
    network = FeatureExtractorInceptionV3("inception-v3-compat", list(OUTPUTS), feature_extractor_weights_path=safe)
    return Parts(_name(file), _Two(network), lambda images: images, ABOUT)


def _name(file: Path) -> str:
    """Says of other weights that published distances are not in them."""
    with open(file, "rb") as opened:
        published = hashlib.file_digest(opened, "sha256").hexdigest() == PUBLISHED
    return "inception" if published else "inception (not the published weights)"


class _Two(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = self.network(images)
        return features, logits


class _Shapes(FeatureExtractorInceptionV3):
    """The network without weights."""

    def load_state_dict(self, *_: Any, **__: Any) -> None:
        """Takes none."""


def _file(config: ExtractorConfig) -> Path:
    given = str(config.weights)
    if weights.may_change(given) or given in (pretrained.TIMM, pretrained.RANDOM) or _absent(given):
        raise FileNotFoundError(f"{FIELD}={given}: no such file; get {FILE} from torch-fidelity's releases and name it")
    return pretrained.file_of(given, FIELD)


def _absent(given: str) -> bool:
    """Of a local path: there is nothing."""
    return not (storage.is_s3(given) or given.startswith(pretrained.PACKAGE) or Path(given).expanduser().exists())


def _tensors(config: ExtractorConfig, file: Path) -> dict[str, Tensor]:
    """The file's tensors, all of which fit."""
    given = str(config.weights)
    state = pretrained.tensors_of(file, given, FIELD)
    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    with torch.device("meta"):
        expected = _Shapes("shapes", list(OUTPUTS), feature_extractor_weights_path=empty).state_dict()
    if told := pretrained.misfit(state, expected):
        raise ValueError(
            f"{FIELD}={given}: these are not the weights of torch-fidelity's Inception: {told}. Get {FILE} from "
            "torch-fidelity's releases (pytorch-fid's pt_inception-2015-12-05-6726825d.pth is the same); an Inception "
            "of torchvision's or timm's is kind timm, name inception_v3"
        )
    missing = expected.keys() - state.keys()  # counters of batch normalisation
    return state | {key: torch.zeros((), dtype=torch.int64) for key in missing}
