"""DINOv2 and CLIP from a transformers folder: the class token after its last norm, or the projected image embedding.

torch-fidelity has both networks too. Its DINOv2 takes no weights from a file, and its CLIP only OpenAI's own archives;
both stretch images bilinearly as TensorFlow 1 did, which neither network was trained with. So they are transformers',
with the preparation that stands beside the weights, done by Pillow on whichever machine.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dermray import weights
from dermray.features import pixels, transformer_folder
from dermray.features.opened import Parts
from dermray.features.settings import ExtractorConfig

FIELD = "weights"
SHAPE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size", "image_size", "hidden_act",
         "layer_norm_eps", "projection_dim", "use_swiglu_ffn", "num_register_tokens")  # fmt: skip
PREPARATION = ("do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor",
               "do_normalize", "image_mean", "image_std")  # fmt: skip
LETTERS = {384: "S", 768: "B", 1024: "L", 1280: "H", 1536: "g"}  # of ViTs by their width


class _Kind(NamedTuple):
    """How a kind's folder is told from others, and loaded."""

    types: dict[str, str]  # model_type of config.json: transformers' class
    output: str  # of the class


KINDS = {
    "dinov2": _Kind(
        {"dinov2": "Dinov2Model", "dinov2_with_registers": "Dinov2WithRegistersModel"}, output="pooler_output"
    ),
    "clip": _Kind(
        {"clip": "CLIPVisionModelWithProjection", "clip_vision_model": "CLIPVisionModelWithProjection"},
        output="image_embeds",
    ),
}


def check(config: ExtractorConfig) -> None:
    """By config.json and the headers of the weights.

    Raises:
        FileNotFoundError, ValueError: no such folder, another network's, or files that are cut short.
    """
    transformer_folder.check(str(config.weights), config.revision, config.kind, tuple(KINDS[config.kind].types))


def open_parts(config: ExtractorConfig) -> Parts:
    """The network with its preparation; raises as `check` does."""
    kind = KINDS[config.kind]
    model = transformer_folder.check(str(config.weights), config.revision, config.kind, tuple(kind.types))
    network, processor = _loaded(config, kind.types[model])
    shape = {key: getattr(network.config, key) for key in SHAPE if hasattr(network.config, key)}
    about = {
        "network": f"transformers {kind.types[model]}",
        "shape": shape,
        "processor": type(processor).__name__,
        "images": {key: value for key, value in processor.to_dict().items() if key in PREPARATION},
    }
    name = f"{config.kind} {_size(shape)}"
    return Parts(name, _Output(network, kind.output), _prepare(processor), about)


def _loaded(config: ExtractorConfig, called: str) -> tuple[Any, Any]:
    """transformers' model of that name, and its image processor."""
    import transformers

    given = str(config.weights)
    place = weights.locate(given, FIELD, config.revision)
    at = {"revision": config.revision} if weights.on_hub(place) else {}
    try:
        with _quietly():
            about = transformers.AutoConfig.from_pretrained(place, **at)
            if hasattr(about, "vision_config"):  # whose own width of the embedding, in a whole CLIP, nobody reads
                about.vision_config.projection_dim, about = about.projection_dim, about.vision_config
            network, told = getattr(transformers, called).from_pretrained(
                place, config=about, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True, **at
            )
            processor = transformers.AutoImageProcessor.from_pretrained(place, backend="pil", **at)
    except Exception as error:  # of transformers, torch, pickle or the hub: files that do not fit, or are none
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"{FIELD}={given}: transformers cannot load this {config.kind} ({type(error).__name__}: {reason}); copy "
            "the folder again"
        ) from None
    if lacking := sorted({*told["missing_keys"], *(name for name, *_ in told["mismatched_keys"])}):
        raise ValueError(
            f"{FIELD}={given}: {len(lacking)} tensors of this {config.kind} are missing or not of the shape that its "
            f"config.json says, such as {lacking[0]}; give a folder with all of its weights"
        )
    return network, processor


class _Output(nn.Module):
    def __init__(self, network: nn.Module, output: str) -> None:
        super().__init__()
        self.network, self.output = network, output

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        return getattr(self.network(pixel_values=images), self.output), None


def _prepare(processor: Any) -> Callable[[Tensor], Tensor]:
    return lambda images: processor(images=pixels.pictures(images), return_tensors="pt")["pixel_values"]


def _size(shape: dict[str, Any]) -> str:
    """As papers name it: ViT-B/14."""
    width = shape["hidden_size"]
    return f"ViT-{LETTERS.get(width, width)}/{shape['patch_size']}"


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without a list of every tensor that is CLIP's text tower's."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
