"""Zero-shot classifiers: a CLIP model of open_clip's format compares an image with words for each class.

A class is the mean direction of all its texts, every template filled with each of its names (Radford et al. 2021,
section 3.1.4). An image's logits are its cosines with the classes times the model's own scale, and their softmax is its
scores. Nothing is trained and no label is used, so nothing is calibrated either.
"""

import importlib.util
import json
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from dermray import storage, weights
from dermray.backbones.pretrained import HUB
from dermray.classification.targets import BENIGN, MALIGNANT, Target
from dermray.config import Config

FIELD = "zero_shot.model"
CONFIG = "open_clip_config.json"
WEIGHTS = (".safetensors", ".bin", ".pth")  # as open_clip looks for them
USUAL_SIZE = 224  # px, of open_clip's own image towers
TEMPLATES = ("a photo of {}", "a skin image of {}", "a dermoscopic image of {}", "a clinical photograph of {}")
NAMES = {BENIGN: "a benign skin lesion", MALIGNANT: "a malignant skin lesion"}


class ZeroShot(Config):
    """A model, and the words by which it tells classes apart."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="in tables")
    model: str = Field(description="directory or s3:// URI in open_clip's format, or a hub id")
    templates: tuple[str, ...] = Field(TEMPLATES, min_length=1, description="texts; {} stands for a class's name")
    prompts: dict[str, tuple[str, ...]] = Field({}, description="names of a class; default: its own")

    @field_validator("templates")
    @classmethod
    def _with_a_place(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        if without := [template for template in templates if template.count("{}") != 1]:
            raise ValueError(f"expected one {{}} in each template for the class's name, got {without[0]!r}")
        return templates

    @field_validator("prompts")
    @classmethod
    def _some(cls, prompts: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if none := [name for name, names in prompts.items() if not names]:
            raise ValueError(f"expected at least one name of the class {none[0]!r}, got none")
        return prompts


class ZeroShotClassifier(nn.Module):
    """A model on pixels: (B, 3, S, S) uint8 to (B, C) logits, C = 2 for malignant too."""

    mean: Tensor
    std: Tensor
    directions: Tensor

    def __init__(self, clip: Any, directions: Tensor) -> None:
        """Args: clip: of open_clip. directions: (C, D) of length one."""
        super().__init__()
        self.clip = clip
        for name in ("mean", "std"):
            values = torch.tensor(clip.visual.preprocess_cfg[name])
            self.register_buffer(name, values.view(3, 1, 1), persistent=False)
        self.register_buffer("directions", directions, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        features = self.clip.encode_image((images.float() / 255 - self.mean) / self.std, normalize=True)
        logits: Tensor = self.clip.logit_scale.exp() * features @ self.directions.T
        return logits


def require_open_clip() -> None:
    """Raises ImportError: it is not installed."""
    if importlib.util.find_spec("open_clip") is None:
        raise ImportError("zero_shot needs open_clip; pip install 'dermray[zero-shot]'")


def texts(given: ZeroShot, target: Target) -> list[list[str]]:
    """All texts of each class, in the target's order.

    Raises:
        ValueError: prompts for a class that the target lacks.
    """
    if strange := [name for name in given.prompts if name not in target.classes]:
        raise ValueError(
            f"zero_shot {given.name}: prompts for {', '.join(strange)}, which {target.column} does not have here; "
            f"expected some of {', '.join(target.classes)}"
        )
    return [
        [template.replace("{}", name) for name in _names(given, called) for template in given.templates]
        for called in target.classes
    ]


def _names(given: ZeroShot, called: str) -> tuple[str, ...]:
    return given.prompts.get(called) or (NAMES.get(called, called.replace("_", " ")),)


def revision(given: ZeroShot) -> str | None:
    """What tells the model from others of the same name: a fingerprint, or the hub's commit.

    Raises:
        FileNotFoundError: nothing is there.
    """
    return weights.revision_of(_place(given), None)


def image_size(given: ZeroShot) -> int:
    """The side of the images that it takes, in px. Reads no weights.

    Raises:
        FileNotFoundError, ValueError: no model of open_clip's format there. ImportError: no open_clip here.
    """
    require_open_clip()
    import open_clip

    place = _place(given)
    if not weights.on_hub(place):
        _require_model(place)
    config = open_clip.get_model_config(_named(weights.locate_small(place, FIELD)))
    size = config["vision_cfg"].get("image_size", USUAL_SIZE)
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) > 1:
        raise ValueError(f"{FIELD}={given.model}: takes images of {size} px; expected a model of square ones")
    return int(sides.pop())


def load(given: ZeroShot, target: Target, revision: str | None = None) -> ZeroShotClassifier:
    """The classifier in evaluation mode, on the CPU.

    Args:
        revision: of a directory: what `revision` said when the work began.

    Raises:
        FileNotFoundError, ValueError: no such model, weights that do not fit it, changed files, or see `texts`.
        ImportError: no open_clip on this node.
    """
    require_open_clip()
    import open_clip

    told = texts(given, target)
    name = _named(weights.locate(given.model.removeprefix(HUB), FIELD, revision))
    try:
        clip = open_clip.create_model(name, require_pretrained=True)
    except RuntimeError as error:  # keys or shapes that do not fit, or a hub that cannot be reached
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{FIELD}={given.model}: open_clip cannot load it: {reason}") from None
    clip.eval().requires_grad_(False)
    tokenizer = open_clip.get_tokenizer(name)
    with torch.no_grad():  # not inference mode, whose tensors no later autograd may touch
        return ZeroShotClassifier(clip, torch.stack([_direction(clip, tokenizer(each)) for each in told])).eval()


def _direction(clip: Any, tokens: Tensor) -> Tensor:
    """(D,) of length one: the mean of a class's text embeddings, each of length one.

    Args:
        tokens: (T, L) of its texts.
    """
    return F.normalize(clip.encode_text(tokens, normalize=True).mean(0), dim=-1)


def _place(given: ZeroShot) -> str:
    return weights.everywhere(given.model.removeprefix(HUB), FIELD)


def _named(place: str) -> str:
    """As open_clip calls it."""
    return f"hf-hub:{place}" if weights.on_hub(place) else f"local-dir:{place}"


def _require_model(place: str) -> None:
    """A directory, here or in S3, with config and weights: without weights open_clip draws random ones."""
    remedy = "give a directory as open_clip.push_to_hf_hub writes it, or a hub id"
    file = storage.join(place, CONFIG)
    if not storage.exists(file):
        raise ValueError(f"{FIELD}={place}: no open_clip model, since it has no {CONFIG}; {remedy}")
    try:
        model = json.loads(storage.read_bytes(file))["model_cfg"]
        whole = {"embed_dim", "vision_cfg", "text_cfg"} <= model.keys()
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise ValueError(f"{file}: expected JSON with model_cfg of embed_dim, vision_cfg and text_cfg; {remedy}")
    if not any(name.endswith(WEIGHTS) for name in storage.list_files(place, below=False)):
        raise ValueError(f"{FIELD}={place}: no weights there ({', '.join(WEIGHTS)}); {remedy}")
