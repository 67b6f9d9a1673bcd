"""A trained classifier in a directory, as timm's own hub format has it, with what dermray needs to know beside.

`timm.create_model("local-dir:<directory>")` loads the network.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import load_model, save_model

from dermray.backbones.networks import Backbone, Classifier, network_of
from dermray.classification import validated
from dermray.classification.targets import Target
from dermray.classification.validated import Validated

WEIGHTS, CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True)
class Saved:
    """A classifier, what it tells apart, and the images it takes."""

    model: Classifier  # in evaluation mode
    backbone: Backbone
    target: Target
    image_size: int  # px
    validated: Validated = field(default_factory=Validated)  # nothing of classifiers that were saved before


def save(directory: str | Path, saved: Saved) -> None:
    """Write config.json, model.safetensors and what `validated` has into a directory that is there."""
    backbone, target, size = saved.backbone, saved.target, saved.image_size
    mean, std = ([round(x, 6) for x in values.flatten().tolist()] for values in (saved.model.mean, saved.model.std))
    about = {
        "architecture": backbone.name.partition(".")[0],
        "num_classes": target.outputs,
        "label_names": list(target.classes),
        "model_args": backbone.arguments,
        "pretrained_cfg": {"input_size": [3, size, size], "mean": mean, "std": std, "num_classes": target.outputs},
        "dermray": {
            "backbone": backbone.model_dump(),
            "target": {"column": target.column, "classes": list(target.classes)},
            "image_size": size,
            "validated": validated.write(directory, saved.validated),
        },
    }
    (Path(directory) / CONFIG).write_text(json.dumps(about, indent=1))
    save_model(saved.model.network, str(Path(directory) / WEIGHTS))


def target_of(config: bytes) -> Target:
    """What a saved classifier tells apart, by its config.json."""
    about = json.loads(config)["dermray"]["target"]
    return Target(about["column"], tuple(about["classes"]))


def require(directory: str | Path) -> None:
    """Refuse what is no classifier of dermray's, by its config.json alone.

    Raises:
        ValueError: it is none.
    """
    path = Path(directory) / CONFIG
    try:
        about = json.loads(path.read_bytes()) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path}: damaged, no JSON ({error}); copy it again") from None
    if "dermray" not in about:
        raise ValueError(f"{directory}: no classifier of dermray's (no config.json that says what it tells apart)")


def load(directory: str | Path) -> Saved:
    """What `save` wrote. Asks no hub and reads no other weights.

    Raises:
        FileNotFoundError, ValueError: no classifier of dermray's there.
    """
    config = (Path(directory) / CONFIG).read_bytes()
    about = json.loads(config)
    if "dermray" not in about:
        raise ValueError(f"{directory}: a model that dermray did not save; give it as backbone.weights instead")
    ours, shown = about["dermray"], about["pretrained_cfg"]
    backbone = Backbone(**ours["backbone"])
    target = target_of(config)
    network = network_of(backbone, target.outputs)
    load_model(network, str(Path(directory) / WEIGHTS))
    model = Classifier(network, tuple(shown["mean"]), tuple(shown["std"])).eval()
    said = validated.read(directory, ours["validated"]) if "validated" in ours else Validated()
    return Saved(model, backbone, target, ours["image_size"], said)
