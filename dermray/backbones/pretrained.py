"""Pretrained weights of a backbone: where they lie, reading them, and whether they fit.

random                          none
timm                            those of timm's own pretrained tag, from the hub
hf-hub:timm/resnet18.a1_in1k    a hub id, also without `hf-hub:`
models/resnet, s3://b/resnet    a directory: model.safetensors, pytorch_model.bin or the only such file in it
models/resnet.pth               a file, local or in S3
package:name/path/in/it.pth     a file of an installed Python package

timm is imported by what reads its weights: every process of a synthesis asks where weights are, and few have any of
timm's to read; timm, and torchvision and torch's compiler with it, would take each longer than all else.
"""

import contextlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dermray import storage, weights, weights_file
from dermray.backbones import lite0

RANDOM, TIMM, HUB, PACKAGE = "random", "timm", "hf-hub:", "package:"
FIELD = "backbone.weights"
USUAL = ("model.safetensors", "pytorch_model.bin")  # as timm and transformers name a model's one file
AUXILIARY = "AuxLogits."  # a second head, for training alone, in torchvision's files of Inception
HEAD_STD = 0.01
SHOWN = 3


def place_of(given: str, field: str = FIELD) -> str:
    """The same weights as every node may call them.

    Raises:
        FileNotFoundError: nothing is there. ImportError: the package is not installed.
    """
    if given in (RANDOM, TIMM) or given.startswith(PACKAGE):
        return given
    return weights.everywhere(given.removeprefix(HUB), field)


def hub_id(given: str, field: str = FIELD) -> str | None:
    """The id, where the weights come from a hub by one.

    Raises:
        FileNotFoundError: nothing is there.
    """
    place = place_of(given, field)
    is_id = place not in (RANDOM, TIMM) and not place.startswith(PACKAGE) and weights.on_hub(place)
    return place if is_id else None


def revision(given: str) -> str | None:
    """What tells these weights from others of the same name: a fingerprint, or the hub's commit."""
    place = place_of(given)
    if place in (RANDOM, TIMM):
        return None
    if place.startswith(PACKAGE):
        return weights.fingerprint(str(in_package(place, FIELD)))
    return weights.revision_of(place, None)


def data_config(given: str) -> dict[str, Any]:
    """What the weights' own config.json says of the images that they know; empty where there is none."""
    place = place_of(given)
    if place in (RANDOM, TIMM) or place.startswith(PACKAGE) or weights.is_single_file(place):
        return {}
    if weights.on_hub(place):
        from timm.models import load_model_config_from_hf

        with hub(place):
            found: dict[str, Any] = load_model_config_from_hf(place)[0]
        return found
    file = storage.join(place, "config.json")
    return dict(json.loads(storage.read_bytes(file)).get("pretrained_cfg", {})) if storage.exists(file) else {}


def load(network: nn.Module, name: str, given: str, field: str = FIELD) -> None:
    """Fill a network with weights, all but its head, which stays fresh.

    Args:
        name: the network's, of timm's. field: config's name of `given`, in errors.

    Raises:
        FileNotFoundError, ValueError: no weights there, or they are another network's.
    """
    state = read(given, field)
    if lite0.is_lite(state):
        state = lite0.to_timm(state, network)
    if convert := _converter(name):
        state = convert(state, network)
    head, places = _head(network), network.state_dict()
    if not any(key.startswith(AUXILIARY) for key in places):
        head = (*head, AUXILIARY)
    state = {key: tensor for key, tensor in state.items() if not key.startswith(head)}
    expected = {key: tensor for key, tensor in places.items() if not key.startswith(head)}
    if told := misfit(state, expected):
        raise ValueError(
            f"{field}={given}: these are not the weights of {name}: {told}. Give the name of the model that they were "
            f"trained as{_or_random(field)}"
        )
    network.load_state_dict(state, strict=False)


@contextlib.contextmanager
def hub(given: str, field: str = FIELD) -> Iterator[None]:
    """What the hub does not give is said with the name of what was asked for.

    Raises:
        FileNotFoundError: it has no such weights, or cannot be reached and no copy is here.
    """
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        yield
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"{field}={given}: the hub did not give these weights, and this machine has no copy of them "
            f"({type(error).__name__}); give a directory, a file or an s3:// URI{_or_random(field)}"
        ) from None


def _or_random(field: str) -> str:
    """A way out that is one only where a network is trained afterwards."""
    return f", or {field}={RANDOM}" if field == FIELD else ""


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


def misfit(state: dict[str, Tensor], expected: dict[str, Tensor]) -> str:
    """What keeps tensors from filling a network; empty where nothing does."""
    missing = [key for key in expected if key not in state and not key.endswith(weights.COUNTER)]
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


def read(given: str, field: str = FIELD) -> dict[str, Tensor]:
    """Tensors by name, on the CPU.

    Raises:
        FileNotFoundError, ImportError: nothing is there. ValueError: no weights, or damaged.
    """
    if place := hub_id(given, field):
        from timm.models import load_state_dict_from_hf

        with hub(place, field):
            found: dict[str, Tensor] = load_state_dict_from_hf(place)
        return found
    return tensors_of(file_of(given, field), given, field)


def tensors_of(file: Path, given: str, field: str = FIELD) -> dict[str, Tensor]:
    """As `read`, of a file that is here."""
    from timm.models import load_state_dict

    weights_file.check(str(file), f"{field}={given}")
    try:
        state: dict[str, Tensor] = load_state_dict(str(file), device="cpu")
    except Exception as error:  # of torch, pickle or safetensors; torch's own advice is to run what is in the file
        raise ValueError(
            f"{field}={given}: cannot be read as weights ({type(error).__name__}): damaged, or it has other things "
            "than tensors; copy it again, or save its state_dict() alone"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"{field}={given}: expected a state dict, tensors by name; save model.state_dict()")
    return state


def file_of(given: str, field: str = FIELD) -> Path:
    """The file with the weights on this node: itself, its copy, or the one in a directory or a package.

    Raises:
        FileNotFoundError, ImportError: nothing is there.
    """
    place = place_of(given, field)
    if place.startswith(PACKAGE):
        return in_package(place, field)
    path = Path(weights.locate(place, field))
    if path.is_file():
        return path
    files = sorted(file for file in path.iterdir() if file.name.endswith(weights.SINGLE_FILES))
    chosen = [file for name in USUAL for file in files if file.name == name] or files
    if not chosen or (len(chosen) > 1 and chosen[0].name not in USUAL):
        raise FileNotFoundError(
            f"{field}={place}: expected {' or '.join(USUAL)} or one file of weights in this directory, got "
            f"{', '.join(file.name for file in files[:SHOWN]) or 'none'}; name the file"
        )
    return chosen[0]


def in_package(place: str, field: str) -> Path:
    """The file of an installed package.

    Raises:
        ImportError, FileNotFoundError: no such package here, or no such file in it.
    """
    name, _, path = place.removeprefix(PACKAGE).partition("/")
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ImportError(
            f"{field}={place}: no package {name} here; pip install {name.replace('_', '-')} on every node"
        )
    file = Path(found.submodule_search_locations[0]) / path
    if not file.is_file():
        raise FileNotFoundError(f"{field}={place}: the package {name} has no file {path}")
    return file


def _converter(name: str) -> Any:
    """What timm itself does to weights of this family: names of other projects, position embeddings of other sizes."""
    from timm.models import is_model, model_entrypoint

    if not is_model(name):
        return None
    module = model_entrypoint(name).__module__
    return getattr(sys.modules[module], "checkpoint_filter_fn", None)
