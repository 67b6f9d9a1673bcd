"""Pretrained weights of a backbone: where they lie, reading them, and whether they fit.

random                          none
timm                            those of timm's own pretrained tag, from the hub
hf-hub:timm/resnet18.a1_in1k    a hub id, also without `hf-hub:`
models/resnet, s3://b/resnet    a directory: model.safetensors, pytorch_model.bin or the only such file in it
models/resnet.pth               a file, local or in S3
package:name/path/in/it.pth     a file of an installed Python package
"""

import contextlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import timm.models
from torch import Tensor, nn

from dermray import storage, weights
from dermray.classification import lite0

RANDOM, TIMM, HUB, PACKAGE = "random", "timm", "hf-hub:", "package:"
FIELD = "backbone.weights"
USUAL = ("model.safetensors", "pytorch_model.bin")  # as timm and transformers name a model's one file
COUNTER = "num_batches_tracked"  # of batch normalisation; older files have none, and nothing depends on it
HEAD_STD = 0.01
SHOWN = 3


def place_of(given: str) -> str:
    """The same weights as every node may call them.

    Raises:
        FileNotFoundError: nothing is there. ImportError: the package is not installed.
    """
    if given in (RANDOM, TIMM) or given.startswith(PACKAGE):
        return given
    return weights.everywhere(given.removeprefix(HUB), FIELD)


def revision(given: str) -> str | None:
    """What tells these weights from others of the same name: a fingerprint, or the hub's commit."""
    place = place_of(given)
    if place in (RANDOM, TIMM):
        return None
    return (
        weights.fingerprint(str(_in_package(place))) if place.startswith(PACKAGE) else weights.revision_of(place, None)
    )


def data_config(given: str) -> dict[str, Any]:
    """What the weights' own config.json says of the images that they know; empty where there is none."""
    place = place_of(given)
    if place in (RANDOM, TIMM) or place.startswith(PACKAGE) or weights.is_single_file(place):
        return {}
    if weights.on_hub(place):
        with hub(place):
            found: dict[str, Any] = timm.models.load_model_config_from_hf(place)[0]
        return found
    file = storage.join(place, "config.json")
    return dict(json.loads(storage.read_bytes(file)).get("pretrained_cfg", {})) if storage.exists(file) else {}


def load(network: nn.Module, name: str, given: str) -> None:
    """Fill a network with weights, all but its head, which stays fresh.

    Args:
        name: the network's, of timm's.

    Raises:
        FileNotFoundError, ValueError: no weights there, or they are another network's.
    """
    state = _read(place_of(given))
    if lite0.is_lite(state):
        state = lite0.to_timm(state, network)
    if convert := _converter(name):
        state = convert(state, network)
    head = _head(network)
    state = {key: tensor for key, tensor in state.items() if not key.startswith(head)}
    expected = {key: tensor for key, tensor in network.state_dict().items() if not key.startswith(head)}
    if told := _misfit(state, expected):
        raise ValueError(
            f"{FIELD}={given}: these are not the weights of {name}: {told}. Give the name of the model that they were "
            f"trained as, or {FIELD}={RANDOM}"
        )
    network.load_state_dict(state, strict=False)


@contextlib.contextmanager
def hub(given: str) -> Iterator[None]:
    """What the hub does not give is said with the name of what was asked for.

    Raises:
        FileNotFoundError: it has no such weights, or cannot be reached and no copy is here.
    """
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        yield
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"{FIELD}={given}: the hub did not give these weights, and this machine has no copy of them "
            f"({type(error).__name__}); give a directory, a file or an s3:// URI, or {FIELD}={RANDOM}"
        ) from None


def head_of(network: nn.Module) -> tuple[str, ...]:
    """Names of the layers that give the logits: one, but for distilled networks."""
    names = network.pretrained_cfg["classifier"]  # type: ignore[index]  # timm's, and ours in small_cnn
    return (names,) if isinstance(names, str) else tuple(names)


def _head(network: nn.Module) -> tuple[str, ...]:
    """What the names of a head's tensors begin with."""
    return tuple(f"{name}." for name in head_of(network))


def fresh_head(network: nn.Module) -> None:
    """Weights of the head near 0, so that a pretrained network begins with the loss of a guess.

    timm draws EfficientNet's by the number of outputs: of one logit between -1 and 1, and features of ImageNet then
    give logits of 10 and a first loss of 4.
    """
    head = _head(network)
    for name, parameter in network.named_parameters():
        if name.startswith(head):
            nn.init.trunc_normal_(parameter, std=HEAD_STD) if parameter.ndim > 1 else nn.init.zeros_(parameter)


def _misfit(state: dict[str, Tensor], expected: dict[str, Tensor]) -> str:
    """What keeps tensors from filling a network; empty where nothing does."""
    missing = [key for key in expected if key not in state and not key.endswith(COUNTER)]
    foreign = [key for key in state if key not in expected]
    shapes = [
        f"{key} is {tuple(state[key].shape)} and not {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in state and state[key].shape != tensor.shape
    ]
    told = [
        f"{len(keys)} tensors {what}, such as {', '.join(keys[:SHOWN])}"
        for keys, what in ((missing, "are missing"), (foreign, "are none of its"), (shapes, "have another shape"))
        if keys
    ]
    return "; ".join(told)


def _read(place: str) -> dict[str, Tensor]:
    if place.startswith(PACKAGE):
        file = _in_package(place)
    elif weights.on_hub(place):
        with hub(place):
            found: dict[str, Tensor] = timm.models.load_state_dict_from_hf(place)
        return found
    else:
        file = _file(Path(weights.locate(place, FIELD)), place)
    try:
        state: dict[str, Tensor] = timm.models.load_state_dict(str(file), device="cpu")
    except Exception as error:  # of torch, pickle or safetensors: the file is damaged or something else
        raise ValueError(f"{FIELD}={place}: cannot be read as weights ({type(error).__name__}: {error})") from None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"{FIELD}={place}: expected a state dict, tensors by name; save model.state_dict()")
    return state


def _file(path: Path, place: str) -> Path:
    """The file with the weights: itself, or the one in a directory."""
    if path.is_file():
        return path
    files = sorted(file for file in path.iterdir() if file.name.endswith(weights.SINGLE_FILES))
    chosen = [file for name in USUAL for file in files if file.name == name] or files
    if not chosen or (len(chosen) > 1 and chosen[0].name not in USUAL):
        raise FileNotFoundError(
            f"{FIELD}={place}: expected {' or '.join(USUAL)} or one file of weights in this directory, got "
            f"{', '.join(file.name for file in files[:SHOWN]) or 'none'}; name the file"
        )
    return chosen[0]


def _in_package(place: str) -> Path:
    name, _, path = place.removeprefix(PACKAGE).partition("/")
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ImportError(
            f"{FIELD}={place}: no package {name} here; pip install {name.replace('_', '-')} on every node"
        )
    file = Path(found.submodule_search_locations[0]) / path
    if not file.is_file():
        raise FileNotFoundError(f"{FIELD}={place}: the package {name} has no file {path}")
    return file


def _converter(name: str) -> Any:
    """What timm itself does to weights of this family: names of other projects, position embeddings of other sizes."""
    if not timm.is_model(name):
        return None
    module = timm.models.model_entrypoint(name).__module__
    return getattr(sys.modules[module], "checkpoint_filter_fn", None)
