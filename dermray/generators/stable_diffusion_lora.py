"""Stable Diffusion 1.x or 2.x with LoRA on its U-Net and text encoder: Derm-T2IM, LesionGen, DermDiff."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import diffusers
import torch
import transformers
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn

from dermray.generators import adapters, frozen, kohya, stable_diffusion_base
from dermray.generators.adapter_file import Layer
from dermray.generators.adapter_kind import AdapterConfig
from dermray.generators.base import Batch, Request, Sample
from dermray.generators.coverage import Reader
from dermray.generators.latent_unet import LatentUNet, LatentUNetConfig
from dermray.generators.stable_diffusion_base import StableDiffusionBaseConfig

UNET_LAYERS = ["to_q", "to_k", "to_v", "to_out.0"]  # that have adapters: attention, as in diffusers' scripts
TEXT_LAYERS = ["q_proj", "k_proj", "v_proj", "out_proj"]
PRIOR_GUIDANCE = 7.5  # diffusers' default, at which its DreamBooth script draws
PRIOR_BATCH = 8


class AdaptersConfig(LatentUNetConfig, AdapterConfig):
    """Where adapters sit; DreamBooth's prior."""

    rank: int = Field(64, ge=1)
    alpha: float = Field(64, gt=0)
    train_text_encoder: bool = True
    start_from: str | None = Field(None, description="an adapter's file to go on from, diffusers' or kohya's")
    prior_prompt: str | None = Field(
        None, description="DreamBooth: what the untouched base draws for this, the trained one must go on drawing"
    )
    prior_images: int = Field(32, ge=1, description="drawn by the base before training")
    prior_weight: float = Field(1.0, ge=0)
    prior_steps: int = Field(20, ge=1, description="sampling steps of prior images")


class StableDiffusionLoraConfig(StableDiffusionBaseConfig, AdaptersConfig):
    """Of Stable Diffusion 1.x and 2.x."""


class StableDiffusionLora(LatentUNet):
    """Adapters on a frozen Stable Diffusion."""

    name: ClassVar[str] = "stable_diffusion_lora"  # in FAMILIES
    bases: ClassVar[Any] = stable_diffusion_base  # loads and checks them
    Config: type[AdaptersConfig] = StableDiffusionLoraConfig
    Pipeline = diffusers.StableDiffusionPipeline
    TEXT_ENCODERS: ClassVar[dict[str, Any]] = {"text_encoder": transformers.CLIPTextModel}
    KOHYA: ClassVar[dict[str, str]] = {"unet": "lora_unet", "text_encoder": "lora_te"}  # how its names begin there
    config: Any
    drawn_by: ClassVar[tuple[str, ...]] = ("dtype", "prediction_type")
    prior: Tensor | None  # latent moments of prior images
    prior_text: Tensor | None

    def __init__(self, config: Any, pipeline: Any) -> None:
        super().__init__(config, pipeline)
        for name in ("moments", *self.read([""])[0]):
            self.register_buffer(_prior(name), None, persistent=False)
        for name, part in self.adapted().items():
            self._adapt(name, part, config)

    @classmethod
    def from_captions(cls, config: Any, captions: list[str]) -> Self:
        """The base with fresh adapters; `captions` make the words of the nano base."""
        made = cls.encoder(config, captions)
        if config.start_from is not None:
            parts = made.adapted()
            adapters.put_layers(parts, cls._read_start(config, config.start_from, parts))
        return made

    @classmethod
    def check_start(cls, config: Any) -> None:
        """Whether the base is one, and an adapter fits it, without the base's weights."""
        cls.bases.check(config)
        if config.start_from is None:
            return
        models = {"unet": diffusers.UNet2DConditionModel} | (cls.TEXT_ENCODERS if config.train_text_encoder else {})
        parts = cls.bases.without_weights(config, models)
        for name, part in parts.items():
            cls._adapt(name, part, config)
        cls._read_start(config, config.start_from, parts)

    @classmethod
    def encoder(cls, config: Any, captions: list[str]) -> Self:
        """Fresh adapters, which add nothing: what it draws, the base draws."""
        return cls(config, cls.bases.load(config, _texts(config, captions)))

    @classmethod
    def readers(cls, config: Any, captions: list[str], saved: Path | None = None) -> list[Reader]:
        """CLIP's; a nano base knows the prior's prompt too."""
        base = str(saved / "base") if saved and config.base == frozen.NANO else None
        readers: list[Reader] = cls.bases.readers(config, _texts(config, captions), base)
        return readers

    @classmethod
    def trains_text(cls, config: Any) -> bool:
        """As the config says."""
        trains: bool = config.train_text_encoder
        return trains

    def adapted(self) -> dict[str, nn.Module]:
        """The models that have adapters, by their prefix in diffusers' files."""
        names = ["unet", *(self.TEXT_ENCODERS if self.config.train_text_encoder else [])]
        return {name: getattr(self.pipeline, name) for name in names}

    def adaptable(self) -> dict[str, nn.Module]:
        """U-Net and text encoders, whichever of them this one has trained."""
        return {"unet": self.unet} | {name: getattr(self.pipeline, name) for name in self.TEXT_ENCODERS}

    def adapter_place(self, layers: Mapping[str, Collection[str]]) -> adapters.Place:
        """By diffusers' names or kohya's."""
        return kohya.unet_place(dict(layers), self.blocks(self.unet))

    @classmethod
    def targets(cls, name: str, part: Any) -> str | list[str]:
        """Layers of a model that have adapters: endings of their names, or a regular expression of whole ones."""
        return UNET_LAYERS if name == "unet" else TEXT_LAYERS

    @classmethod
    def prior_by(cls, config: Any) -> dict[str, Any] | None:
        """The base, what is drawn and how, and in which form its text is kept."""
        if config.prior_prompt is None:
            return None
        names = ("image_size", "prediction_type", "prior_prompt", "prior_images", "prior_steps", "train_text_encoder")
        settings = {name: getattr(config, name) for name in names}
        return frozen.encoded_by(config) | settings | {"guidance_scale": PRIOR_GUIDANCE, "first_seed": 0}

    def draw_prior(self) -> Sample:
        """Latent moments and text of images that the base draws for the prior prompt."""
        assert self.config.prior_prompt is not None
        requests = [Request(self.config.prior_prompt, seed) for seed in range(self.config.prior_images)]
        samples: list[Sample] = []
        for start in range(0, len(requests), PRIOR_BATCH):
            chosen = requests[start : start + PRIOR_BATCH]
            images = self.sample(chosen, PRIOR_GUIDANCE, self.config.prior_steps)
            samples += self.encode(images.to(self.nothing.device), [request.prompt for request in chosen])
        return self.collate(samples)

    def keep_prior(self, prior: Sample) -> None:
        """Beside the weights, on their device."""
        for name, value in prior.items():
            setattr(self, _prior(name), value.to(self.nothing.device))

    def forward(self, batch: Batch) -> Tensor:
        """The loss on the batch; with a prior, plus its loss on as many images of the base (DreamBooth, equation 2)."""
        loss = self.losses(batch).mean()
        if self.config.prior_prompt is None:
            return loss
        if self.prior is None or self.prior_text is None:
            raise ValueError("model.prior_prompt: its images are missing; give `keep_prior` what `draw_prior` drew")
        chosen = torch.randint(len(self.prior), (len(batch["moments"]),))
        prior, seen = {name: getattr(self, _prior(name))[chosen] for name in batch}, self.seen
        loss = loss + self.config.prior_weight * self.losses(prior).mean()
        self.seen = seen  # the images' own losses
        return loss

    def save(self, directory: Path) -> None:
        """`pytorch_lora_weights.safetensors` for `load_lora_weights`, alpha in its metadata; a nano base too."""
        parts = self.adapted()
        if self.config.base == frozen.NANO:
            bare = {name: adapters.without_adapters(part) for name, part in parts.items()}
            whole = type(self.pipeline)(**self.pipeline.components | bare, **self.bases.switches(self.pipeline))
            whole.save_pretrained(directory / "base")
        frozen.write_about(directory, family=self.name, config=self.config.model_dump())
        layers: dict[str, Any] = {}
        for name, part in parts.items():
            weights = adapters.lora_weights(part)
            layers[f"{name}_lora_layers"] = weights if name == "unet" else adapters.as_transformers_reads(weights)
            layers[f"{name}_lora_adapter_metadata"] = adapters.lora_config(part)
        self.Pipeline.save_lora_weights(directory, **layers)

    def save_kohya(self, file: Path) -> None:
        """The adapters as kohya's scripts, ComfyUI and A1111 read them."""
        state: dict[str, Tensor] = {}
        blocks = self.blocks(self.unet)
        for name, part in self.adapted().items():
            weights = adapters.lora_weights(part)
            state |= kohya.unet_to_kohya(weights, self.config.alpha, self.KOHYA[name], blocks, self.config.rank)
        save_file(state, file)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote, on the base that it names."""
        config: Any = cls.Config(**frozen.read_about(directory, cls.name)["config"])
        base = frozen.saved_base(config.base, directory)
        made = cls(config, cls.bases.load(config, [], base))
        saved = adapters.read_saved(directory)
        for name, part in made.adapted().items():
            adapters.put_lora_weights(part, saved[name])
        return made

    @classmethod
    def blocks(cls, unet: Any) -> int | None:
        """Layers of a block, where kohya's names are those of the original blocks."""
        return None

    @classmethod
    def _adapt(cls, name: str, part: nn.Module, config: Any) -> None:
        targets = cls.targets(name, part)
        adapters.add_lora(part, targets, config.rank, config.alpha, config.adapter, config.lokr_factor)

    @classmethod
    def _read_start(cls, config: Any, file: str, parts: dict[str, nn.Module]) -> dict[str, Layer]:
        adapted = {name: adapters.adapted_modules(part) for name, part in parts.items()}
        place = kohya.unet_place(adapted, cls.blocks(parts["unet"]))
        return adapters.read_start(file, parts, config.rank, config.alpha, place)


def _prior(name: str) -> str:
    """Of the buffer that keeps a tensor of prior images' samples."""
    return "prior" if name == "moments" else f"prior_{name}"


def _texts(config: Any, captions: list[str]) -> list[str]:
    """What a nano base's words are taken from."""
    return captions if config.prior_prompt is None else [*captions, config.prior_prompt]
