"""Any of timm's networks without its head: the pooled features that its last layer would get.

Images are prepared by timm's own transform for these weights: resized by Pillow, its central crop, its mean and std.
"""

from difflib import get_close_matches

import timm
from timm.data import create_transform
from torch import Tensor, nn

from dermray import weights
from dermray.backbones import pretrained
from dermray.backbones.networks import data_config
from dermray.features import pixels
from dermray.features.opened import Parts
from dermray.features.settings import EXPECTED, ExtractorConfig

FIELD = "weights"
PREPARATION = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")


def check(config: ExtractorConfig) -> None:
    """All but the weights of a hub, which are not downloaded for it.

    Raises:
        FileNotFoundError, ImportError, ValueError: no such network, no weights there, or another network's.
    """
    name, given = _name(config), str(config.weights)
    if given == pretrained.TIMM:
        _require_own(name)
        return
    if name_there := pretrained.hub_id(given, FIELD):
        weights.hub_commit(name_there, config.revision)
        return
    _loaded(name, given)


def open_parts(config: ExtractorConfig) -> Parts:
    """The network with its preparation; raises as `check` does."""
    name, given = _name(config), _pinned(config)
    if given == pretrained.TIMM:
        with pretrained.hub(f"{given} ({name})", FIELD):
            network: nn.Module = timm.create_model(name, pretrained=True, num_classes=0)
    else:
        network = _loaded(name, given)
    found = data_config(name, given, {})
    shown = {key: found[key] for key in PREPARATION}
    return Parts(
        f"timm {name}",
        _Pooled(network),
        pixels.each(create_transform(**shown, is_training=False)),
        {"network": f"timm {name.partition('.')[0]}", "images": shown},
    )


def _loaded(name: str, given: str) -> nn.Module:
    network: nn.Module = timm.create_model(name)
    pretrained.load(network, name, given, FIELD)
    network.reset_classifier(0)  # type: ignore[operator]  # timm's; not before, for some files are told by all tensors
    return network


class _Pooled(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        return self.network(images), None


def _name(config: ExtractorConfig) -> str:
    name = str(config.name)
    if not timm.is_model(name):
        near = ", ".join(get_close_matches(name, timm.list_models(), n=8, cutoff=0))
        raise ValueError(f"name={name}: not a timm model; near it: {near}")
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError:  # of a tag
        own = ", ".join(timm.list_models(f"{name.partition('.')[0]}.*", pretrained=True)) or "none"
        raise ValueError(f"name={name}: timm has no such tag; its weights of this network: {own}") from None
    if config.weights == pretrained.RANDOM:
        raise ValueError(f"{FIELD}={config.weights}: features of random weights stand for nothing; {EXPECTED['timm']}")
    return name


def _require_own(name: str) -> None:
    """Refuse a tag without weights, or a hub that does not answer."""
    about = timm.get_pretrained_cfg(name)
    if about is None or not about.has_weights:
        raise ValueError(f"{FIELD}={pretrained.TIMM}: timm has no weights of {name}; {EXPECTED['timm']}")
    if about.hf_hub_id:
        weights.hub_commit(about.hf_hub_id, None)


def _pinned(config: ExtractorConfig) -> str:
    """The weights, of a hub id at its revision, as timm writes that."""
    given = str(config.weights)
    hub_id = pretrained.hub_id(given, FIELD)
    return f"{hub_id}@{config.revision}" if hub_id and config.revision else given
