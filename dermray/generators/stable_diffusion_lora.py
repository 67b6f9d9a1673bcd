"""Stable Diffusion 1.x or 2.x with LoRA on its U-Net and text encoder: Derm-T2IM, LesionGen, DermDiff."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import diffusers
import torch
import transformers
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn

from dermray.generators import adapters, frozen, kohya, stable_diffusion_base
from dermray.generators.adapter_file import Layer
from dermray.generators.base import Batch, Request, Sample
from dermray.generators.coverage import Reader
from dermray.generators.latent_unet import LatentUNet
from dermray.generators.stable_diffusion_base import StableDiffusionBaseConfig

KOHYA_PREFIXES = {"unet": "lora_unet", "text_encoder": "lora_te"}
LAYERS = {  # that have adapters: attention, as in diffusers' training scripts
    "unet": ["to_q", "to_k", "to_v", "to_out.0"],
    "text_encoder": ["q_proj", "k_proj", "v_proj", "out_proj"],
}
PRIOR_GUIDANCE = 7.5  # diffusers' default, at which its DreamBooth script draws
PRIOR_BATCH = 8


class StableDiffusionLoraConfig(StableDiffusionBaseConfig):
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


class StableDiffusionLora(LatentUNet):
    """Adapters on a frozen Stable Diffusion."""

    Config = StableDiffusionLoraConfig
    config: StableDiffusionLoraConfig
    prior: Tensor | None  # latent moments of prior images
    prior_text: Tensor | None

    def __init__(self, config: StableDiffusionLoraConfig, pipeline: diffusers.StableDiffusionPipeline) -> None:
        super().__init__(config, pipeline)
        for name in ("prior", "prior_text"):
            self.register_buffer(name, None, persistent=False)
        for name, part in self.adapted().items():
            adapters.add_lora(part, LAYERS[name], config.rank, config.alpha)

    @classmethod
    def from_captions(cls, config: StableDiffusionLoraConfig, captions: list[str]) -> Self:
        """The base with fresh adapters; `captions` make the words of the nano base."""
        made = cls.encoder(config, captions)
        if config.start_from is not None:
            parts = made.adapted()
            adapters.put_layers(parts, _read_start(config, config.start_from, parts))
        return made

    @classmethod
    def check_start(cls, config: StableDiffusionLoraConfig) -> None:
        """Whether the base is one, and an adapter fits it, without the base's weights."""
        stable_diffusion_base.check(config)
        if config.start_from is None:
            return
        models: dict[str, Any] = {"unet": diffusers.UNet2DConditionModel}
        if config.train_text_encoder:
            models["text_encoder"] = transformers.CLIPTextModel
        parts = stable_diffusion_base.without_weights(config, models)
        for name, part in parts.items():
            adapters.add_lora(part, LAYERS[name], config.rank, config.alpha)
        _read_start(config, config.start_from, parts)

    @classmethod
    def encoder(cls, config: StableDiffusionLoraConfig, captions: list[str]) -> Self:
        """Fresh adapters, which add nothing: what it draws, the base draws."""
        return cls(config, stable_diffusion_base.load(config, _texts(config, captions)))

    @classmethod
    def readers(cls, config: StableDiffusionLoraConfig, captions: list[str], saved: Path | None = None) -> list[Reader]:  # type: ignore[override]  # its own config
        """CLIP's; a nano base knows the prior's prompt too."""
        base = str(saved / "base") if saved and config.base == frozen.NANO else None
        return stable_diffusion_base.readers(config, _texts(config, captions), base)

    @classmethod
    def trains_text(cls, config: StableDiffusionLoraConfig) -> bool:  # type: ignore[override]  # its own config
        """As the config says."""
        return config.train_text_encoder

    def adapted(self) -> dict[str, nn.Module]:
        """The models that have adapters, by their prefix in diffusers' files."""
        return {"unet": self.unet} | ({"text_encoder": self.clip} if self.config.train_text_encoder else {})

    @classmethod
    def prior_by(cls, config: StableDiffusionLoraConfig) -> dict[str, Any] | None:
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
        self.prior, self.prior_text = (prior[name].to(self.nothing.device) for name in ("moments", "text"))

    def forward(self, batch: Batch) -> Tensor:
        """The loss on the batch; with a prior, plus its loss on as many images of the base (DreamBooth, equation 2)."""
        loss = self.losses(batch).mean()
        if self.config.prior_prompt is None:
            return loss
        if self.prior is None or self.prior_text is None:
            raise ValueError("model.prior_prompt: its images are missing; give `keep_prior` what `draw_prior` drew")
        chosen = torch.randint(len(self.prior), (len(batch["moments"]),))
        prior, seen = {"moments": self.prior[chosen], "text": self.prior_text[chosen]}, self.seen
        loss = loss + self.config.prior_weight * self.losses(prior).mean()
        self.seen = seen  # the images' own losses
        return loss

    def save(self, directory: Path) -> None:
        """`pytorch_lora_weights.safetensors` for `load_lora_weights`, alpha in its metadata; a nano base too."""
        parts = self.adapted()
        if self.config.base == frozen.NANO:
            bare = {name: adapters.without_adapters(part) for name, part in parts.items()}
            diffusers.StableDiffusionPipeline(
                **self.pipeline.components | bare, requires_safety_checker=False
            ).save_pretrained(directory / "base")  # fmt: skip
        frozen.write_about(directory, family="stable_diffusion_lora", config=self.config.model_dump())
        layers: dict[str, Any] = {}
        for name, part in parts.items():
            layers[f"{name}_lora_layers"] = adapters.lora_weights(part)
            layers[f"{name}_lora_adapter_metadata"] = adapters.lora_config(part)
        diffusers.StableDiffusionPipeline.save_lora_weights(directory, **layers)

    def save_kohya(self, file: Path) -> None:
        """The adapters as kohya's scripts, ComfyUI and A1111 read them."""
        state: dict[str, Tensor] = {}
        for name, part in self.adapted().items():
            state |= kohya.unet_to_kohya(adapters.lora_weights(part), self.config.alpha, KOHYA_PREFIXES[name])
        save_file(state, file)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote, on the base that it names."""
        config = StableDiffusionLoraConfig(**frozen.read_about(directory, "stable_diffusion_lora")["config"])
        base = frozen.saved_base(config.base, directory)
        made = cls(config, stable_diffusion_base.load(config, [], base))
        saved = adapters.read_saved(directory)
        for name, part in made.adapted().items():
            adapters.put_lora_weights(part, saved[name])
        return made


def _texts(config: StableDiffusionLoraConfig, captions: list[str]) -> list[str]:
    """What a nano base's words are taken from."""
    return captions if config.prior_prompt is None else [*captions, config.prior_prompt]


def _read_start(config: StableDiffusionLoraConfig, file: str, parts: dict[str, nn.Module]) -> dict[str, Layer]:
    place = kohya.unet_place({name: adapters.adapted_modules(part) for name, part in parts.items()})
    return adapters.read_start(file, parts, config.rank, config.alpha, place)
