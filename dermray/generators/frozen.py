"""What families of latent models share: a pipeline in diffusers' format, its frozen autoencoder, drawn pixels."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from dermray.generators import nano
from dermray.generators.base import SOURCES
from dermray.generators.coverage import TokenReader

NANO = "nano"  # the base that is built from config alone
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_pipeline(
    base: str,
    revision: str | None,
    dtype: str,
    build_nano: Callable[[], Any] | None = None,
    quantization: dict[str, str] | None = None,
    without: dict[str, Any] | None = None,
    dtypes: dict[str, str] | None = None,
) -> Any:
    """The base model's pipeline, in evaluation mode and without gradients.

    Args:
        base: `nano`, or a directory, s3:// URI or hub id in diffusers' format. dtype: fp32, bf16 or fp16.
        build_nano: makes the nano base. quantization: nf4 or fp8, by the part of the pipeline. without: None for parts
            that are not loaded, and the pipeline's own switches. dtypes: of parts that have another than `dtype`.

    Raises:
        FileNotFoundError: there is nothing of that name. ValueError: quantization without a GPU.
    """
    options: dict[str, Any] = dict(without or {})
    for part, kind in (quantization or {}).items():
        from dermray.generators import quantization as bits

        bits.check(kind, base, torch.cuda.device_count())
        options["quantization_config"] = bits.pipeline_config(kind, part, DTYPES[dtype])
    if base == NANO:
        assert build_nano is not None
        with torch.random.fork_rng(devices=[]):  # its own seed must not become that of what is trained beside it
            pipeline = in_precision(build_nano(), DTYPES[dtype])
        for part in without or {}:
            setattr(pipeline, part, None)
    else:
        from dermray import weights  # not at the top: architectures alone need no storage

        found = weights.locate(base, "model.base", revision)
        chosen = {part: DTYPES[name] for part, name in {"default": dtype, **(dtypes or {})}.items()}
        pipeline = diffusers.DiffusionPipeline.from_pretrained(
            found, revision=revision, variant=_variant(Path(found)), dtype=chosen, **options
        )
    return at_rest(pipeline)


def at_rest(pipeline: Any) -> Any:
    """A pipeline in evaluation mode, without gradients and progress bars."""
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def in_precision(part: Any, dtype: torch.dtype) -> Any:
    """A model or pipeline with weights of another dtype. diffusers warns of each model that some of its modules should
    stay as they are, and then names none of them."""
    logger = logging.getLogger("diffusers.models.modeling_utils")
    names_some = lambda record: "kept in float32: []" not in record.getMessage()  # noqa: E731
    logger.addFilter(names_some)
    try:
        return part.to(dtype)
    finally:
        logger.removeFilter(names_some)


def _variant(folder: Path) -> str | None:
    """fp16 where a pipeline's folder has some part's weights in half precision alone; diffusers must be told."""
    weights = [file for ending in ("safetensors", "bin") for file in folder.glob(f"*/*.{ending}")]
    whole = {file.parent for file in weights if ".fp16" not in file.name}
    return "fp16" if {file.parent for file in weights} - whole else None


def saved_base(base: str, saved: Path | None) -> str:
    """Where the base of a checkpoint is: a nano base lies inside."""
    return str(saved / "base") if saved and base == NANO else base


def tokenizer(
    base: str, revision: str | None, folder: str, captions: list[str], length: int, field: str = "model.base"
) -> Any:
    """The tokenizer in a folder of the base's pipeline, as `load_pipeline` has it; the nano base's is made.

    Args:
        field: config's name for the base, in errors.
    """
    if base == NANO:
        return nano.tokenizer(captions, length)
    from transformers import AutoTokenizer

    from dermray import weights

    return AutoTokenizer.from_pretrained(weights.locate_small(base, field), revision=revision, subfolder=folder)


def clip_reader(base: str, revision: str | None, captions: list[str]) -> TokenReader:
    """CLIP's tokenizer; it reads 77 tokens."""
    made = tokenizer(base, revision, "tokenizer", captions, 77)
    return TokenReader("clip", made, made.model_max_length)


def without_weights(
    base: str, revision: str | None, build_nano: Callable[[], Any], models: dict[str, Any]
) -> dict[str, nn.Module]:
    """Parts of the base's pipeline by their configs alone, to look at layers and shapes in seconds.

    Args:
        base: as `load_pipeline`'s. models: classes of diffusers or transformers, by the part of the pipeline.
    """
    if base == NANO:
        with torch.random.fork_rng(devices=[]):
            pipeline = build_nano()
        return {part: getattr(pipeline, part) for part in models}
    from accelerate import init_empty_weights

    from dermray import weights

    located, parts = weights.locate_small(base, "model.base"), {}
    with init_empty_weights():
        for part, model in models.items():
            config = getattr(model, "config_class", None)  # transformers have one, diffusers read dictionaries
            read = config.from_pretrained if config else model.load_config
            settings = read(located, subfolder=part, revision=revision)
            parts[part] = model(settings) if config else model.from_config(settings)
    return parts


def encoded_by(config: Any, *fields: str) -> dict[str, Any]:
    """Fingerprints of what a config takes frozen parts from, and the fields that encoding depends on beside the
    images."""
    places = {name: getattr(config, name) for name in SOURCES if getattr(config, name, None)}
    return {name: _fingerprint(config, name, place) for name, place in places.items()} | {
        name: getattr(config, name) for name in ("dtype", *fields)
    }


def _fingerprint(config: Any, name: str, place: str) -> str:
    """Of what lies at `place`, which field `name` of a config says."""
    if place == NANO:
        return place
    from dermray import weights

    revision = getattr(config, SOURCES[name])
    return weights.revision_of(weights.everywhere(place, f"model.{name}"), revision) or place


@torch.no_grad()
def latent_moments(vae: diffusers.AutoencoderKL, images: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 to (B, 2C, H/8, W/8) float32: mean and log variance of the latents, drawn from in training."""
    moments: Tensor = vae.encode(images.to(vae.dtype) / 127.5 - 1).latent_dist.parameters
    return moments.float()


def latent_modes(vae: diffusers.AutoencoderKL, images: Tensor) -> Tensor:
    """As `latent_moments`, but for the mean alone, (B, C, H/8, W/8)."""
    return latent_moments(vae, images).chunk(2, 1)[0].contiguous()


def drawn(moments: Tensor) -> Tensor:
    """Latents (B, C, h, w) as the autoencoder makes them, of what `latent_moments` gave."""
    mean, log_variance = moments.chunk(2, 1)
    # As diffusers' DiagonalGaussianDistribution, whose way of drawing noise torch.compile cannot follow to other sizes
    return mean + torch.exp(0.5 * log_variance.clamp(-30, 20)) * torch.randn_like(mean)


def scaled(vae: diffusers.AutoencoderKL, latents: Tensor) -> Tensor:
    """Latents as the denoiser sees them: (sample - shift) * scale."""
    seen: Tensor = (latents - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor
    return seen


def unscaled(vae: diffusers.AutoencoderKL, latents: Tensor) -> Tensor:
    """The way back from `scaled`."""
    made: Tensor = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
    return made


def draw_latents(vae: diffusers.AutoencoderKL, moments: Tensor) -> Tensor:
    """Latents as the denoiser sees them, of what `latent_moments` gave."""
    return scaled(vae, drawn(moments))


def decode(vae: diffusers.AutoencoderKL, latents: Tensor, one_by_one: bool = False) -> Tensor:
    """Latents as the denoiser sees them, (B, C, h, w) of any dtype, to (B, 3, H, W) uint8 on the CPU.

    Args:
        one_by_one: for bits that do not depend on how many there are.
    """
    return decoded_pixels(lambda part: vae.decode(part).sample, unscaled(vae, latents).to(vae.dtype), one_by_one)


@torch.no_grad()
def decoded_pixels(decode: Callable[[Tensor], Tensor], latents: Tensor, one_by_one: bool = False) -> Tensor:
    """What an autoencoder makes of latents, images in [-1, 1], as (B, 3, H, W) uint8 on the CPU."""
    images = torch.cat([decode(part) for part in latents.split(1 if one_by_one else len(latents))])
    return to_pixels((images / 2 + 0.5).clamp(0, 1))


def to_pixels(images: Tensor) -> Tensor:
    """What pipelines give with output_type="pt", in [0, 1], as uint8."""
    return (images.float() * 255).round().clamp(0, 255).to(torch.uint8).cpu()


def write_about(directory: Path, **about: Any) -> None:
    """`config.json` of a checkpoint."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(about, indent=1))


def read_about(directory: Path, family: str) -> dict[str, Any]:
    """What `write_about` wrote.

    Raises:
        ValueError: another family's checkpoint, or none.
    """
    path = directory / "config.json"
    try:
        about: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path}: damaged, no JSON ({error}); copy it again") from None
    if about.get("family") != family:
        raise ValueError(f"{directory}: expected a {family} checkpoint, found {about.get('family') or 'none'}")
    return about
