"""GLIDE (paper 000): text-conditional diffusion of pixels at 64 or 128 px, and an upsampler to 256 px.

Training goes on from OpenAI's weights, which `dermray import glide` brings into the folders that are read and written
here. What public fine-tuning code leaves out is here: learned variances get their variational loss (`variance_loss`),
the last timestep is drawn, and captions can be dropped for guidance. The upsampler learns from real images and their
own reductions, and both are sampled in cascade, as OpenAI does.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from dermray import weights_file
from dermray.config import Config, ConfigError
from dermray.generators import ddpm, frozen, glide_sampling, nano
from dermray.generators.base import Batch, Generator, Request, Sample, without_caption
from dermray.generators.canvas import Canvas, guided, put
from dermray.generators.coverage import Reader, TokenReader
from dermray.generators.glide_models import PUBLISHED, STAGES, Sizes, Stage

CONTEXT = PUBLISHED["base"].context
NANO_SIZES = {  # OpenAI's networks in miniature
    name: Sizes(
        side, channels, (1, 2), (False, True), 1, PUBLISHED[name].schedule, channels=16, head_width=8, groups=8,
        text_width=32, text_layers=1, text_heads=2,
    )
    for name, side, channels in (("base", 16, 3), ("upsampler", 64, 6))
}  # fmt: skip
FILES = ("unet/config.json", "unet/diffusion_pytorch_model.safetensors", "text/config.json",
         "text/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json")  # fmt: skip
REMEDY = (
    "GLIDE starts from OpenAI's weights: `dermray import glide --base base.pt --upsampler upsample.pt --tokenizer DIR "
    "--output DIR` makes a directory of them; model.base=nano has random weights, for trying things out"
)


class GlideConfig(Config):
    """Where weights come from, and how they are trained and sampled."""

    base: str = Field(
        frozen.NANO, description="nano, or what `dermray import glide` or a training wrote: a directory or s3:// URI"
    )
    revision: str | None = Field(None, description="fingerprint of the base")
    image_size: int = Field(64, ge=32, multiple_of=32, description="px, of the upsampler; OpenAI's was trained on 256")
    base_size: int | None = Field(None, ge=8, multiple_of=8, description="px, of the base; default: a quarter")
    stages: Literal["both", "base", "upsampler"] = Field("both", description="that are trained; all are kept")
    dropout: float = Field(0.1, ge=0, lt=1, description="in residual blocks")
    caption_dropout: float = Field(0.2, ge=0, lt=1, description="share of images without caption, for guidance")
    variance_loss: bool = Field(True, description="false leaves the learned variances without a loss")
    upsampler_steps: tuple[int, ...] = Field(
        (10, 10, 3, 2, 2), min_length=1,
        description="sampling steps in equal sections of the upsampler's schedule, from the least noise on",
    )  # fmt: skip
    upsampler_noise: float = Field(0.997, gt=0, description="deviation of the noise that the upsampler starts from")

    @property
    def low_size(self) -> int:
        """px, of the base."""
        return self.base_size or self.image_size // 4

    @property
    def trained(self) -> tuple[str, ...]:
        """Names of the stages that are trained."""
        return STAGES if self.stages == "both" else (self.stages,)

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.image_size % self.low_size:
            raise ConfigError(
                f"base_size={self.base_size}: image_size={self.image_size} is no multiple of it; 64 or 128 px go to 256"
            )
        section = 1000 // len(self.upsampler_steps)
        if wrong := [count for count in self.upsampler_steps if not 2 <= count <= section]:
            raise ConfigError(
                f"upsampler_steps={list(self.upsampler_steps)}: expected 2 to {section} in each section, got {wrong[0]}"
            )
        return self


class Glide(Generator):
    """Base and upsampler, each with a text transformer of its own, trained apart or side by side."""

    Config = GlideConfig
    frozen_encoder = False
    nothing: Tensor  # the tokens of no text

    def __init__(self, config: GlideConfig, base: Stage, upsampler: Stage, tokenizer: Any) -> None:
        super().__init__()
        self.config, self.image_size, self.tokenizer = config, config.image_size, tokenizer
        self.stages = {"base": base, "upsampler": upsampler}
        self.unet, self.text = base.unet, base.text  # each a child of its own, for FSDP
        self.upsampler_unet, self.upsampler_text = upsampler.unet, upsampler.text
        for name, stage in self.stages.items():
            stage.set_dropout(config.dropout)
            for parameter in stage.parameters():
                parameter.requires_grad_(name in config.trained)
        # no text is padding alone, so every state comes from what was learned for padding
        self.register_buffer("nothing", torch.full((CONTEXT,), tokenizer.pad_token_id), persistent=False)

    @classmethod
    def from_captions(cls, config: GlideConfig, captions: list[str]) -> Self:
        """The base's weights; those of nano are random, and its words are those of `captions`."""
        if config.base != frozen.NANO:
            return cls._read(config, _directory(config))
        words = nano.tokenizer(captions, CONTEXT)
        base, upsampler = (
            Stage.build(replace(NANO_SIZES[name], words=len(words)), words.pad_token_id) for name in STAGES
        )
        return cls(config, base, upsampler, words)

    @classmethod
    def makes_words(cls, config: GlideConfig) -> bool:
        """Where there are no weights."""
        return config.base == frozen.NANO

    @classmethod
    def readers(cls, config: GlideConfig, captions: list[str], saved: Path | None = None) -> list[Reader]:
        """Base and upsampler share a tokenizer."""
        base, revision = (str(saved), None) if saved else (config.base, config.revision)
        return [TokenReader("words", frozen.tokenizer(base, revision, "tokenizer", captions, CONTEXT), CONTEXT)]

    @classmethod
    def encoded_by(cls, config: GlideConfig) -> dict[str, Any] | None:
        """The fingerprint of the base."""
        if config.base == frozen.NANO:
            return None
        from dermray import weights

        return {"base": weights.revision_of(_place(config), config.revision) or config.base}

    @classmethod
    def check_start(cls, config: GlideConfig) -> None:
        """Whether the base is a GLIDE, and whole."""
        if config.base == frozen.NANO:
            return
        from dermray import storage, weights

        place = _place(config)
        if weights.is_single_file(place):
            raise ValueError(f"model.base={config.base}: expected a directory, got a single file. {REMEDY}")
        if weights.on_hub(place):
            return  # the loader asks for what it needs
        frozen.read_about(Path(weights.locate_small(place, "model.base")), "glide")
        files = [f"{name}/{file}" for name in STAGES for file in FILES] + ["tokenizer/tokenizer.json"]
        if missing := [file for file in files if not storage.exists(storage.join(place, file))]:
            raise ValueError(f"model.base={config.base}: lacks {', '.join(missing)}; copy it whole. {REMEDY}")
        for file in files:
            weights_file.check(storage.join(place, file), f"model.base={config.base}: {file}")

    def encode(self, images: Tensor, captions: list[str]) -> list[Sample]:
        """Pixels in [-1, 1] at full size, and token ids (128,)."""
        pixels = images.float() / 127.5 - 1
        return [{"image": image, "tokens": ids} for image, ids in zip(pixels, self._tokens(captions), strict=True)]

    def forward(self, batch: Batch) -> Tensor:
        """The base's loss on reduced images, the upsampler's on the images themselves, or their sum."""
        images = batch["image"]
        tokens = without_caption(batch["tokens"], self.nothing, self.config.caption_dropout)
        low = reduce(images, self.config.low_size)
        losses = {}  # the base's last: its losses are those that are seen
        if "upsampler" in self.config.trained:
            losses["upsampler"] = self._loss(self.stages["upsampler"], images, low, tokens)
        if "base" in self.config.trained:
            losses["base"] = self._loss(self.stages["base"], low, None, tokens)
        return torch.stack(list(losses.values())).sum()

    def clipped_apart(self) -> list[list[nn.Parameter]]:
        """The stages share nothing: a jump in one must not shorten the other's step."""
        return [self.stages[name].parameters() for name in self.config.trained]

    def _loss(self, stage: Stage, images: Tensor, low: Tensor | None, tokens: Tensor) -> Tensor:
        """L_simple + L_vlb (Nichol and Dhariwal 2021, equation 16; one of 1000 steps is drawn, so 0.001 x 1000 = 1)."""
        noise, t = torch.randn_like(images), ddpm.draw_timesteps(len(images), stage.scheduler, images)
        noisy = stage.scheduler.add_noise(images, noise, t)
        predicted, variance = stage.denoise(noisy, t, stage.text(tokens), low)
        losses = ddpm.loss(predicted, images, noise, t, stage.scheduler, None)
        if self.config.variance_loss:
            losses = losses + ddpm.variational_bound(predicted, variance, images, noisy, t, stage.scheduler)
        self.seen = t / stage.scheduler.config.num_train_timesteps, losses.detach()
        return losses.mean()

    def begin(self, request: Request, guidance_scale: float, steps: int) -> Canvas:
        """As OpenAI's notebook: the base in `steps` ancestral steps with guidance, the upsampler by DDIM without."""
        tokens, noise = self._tokens([request.prompt]), torch.Generator().manual_seed(request.seed)
        stage, size = self.stages["base"], self.config.low_size
        walk = glide_sampling.walk(glide_sampling.even_steps(steps), stage.scheduler.betas)
        no_text = stage.text(self.nothing.expand_as(tokens))
        return Canvas(
            z=_noise(noise, size, tokens.device), text=(stage.text(tokens),), no_text=(no_text,), scale=guidance_scale,
            noise=noise, walk=walk, steps=len(walk), side=self.image_size, phase="base", kept={"tokens": tokens},
        )  # fmt: skip

    def advance(self, canvases: list[Canvas]) -> None:
        """A step of each; after the base's last one it is the upsampler's turn."""
        z = torch.cat([canvas.z for canvas in canvases])
        t = torch.tensor([canvas.walk[canvas.step].t for canvas in canvases], device=z.device)
        if canvases[0].phase == "upsampler":
            self._upsample(canvases, z, t)
            return
        out = guided(self._predict_base, self.rows, canvases, (z, t), channels=z.shape[1])
        stepped = []
        for canvas, own in zip(canvases, out.split(1), strict=True):
            fresh = partial(_noise, canvas.noise, self.config.low_size, z.device)
            predicted, place = own.chunk(2, 1)
            stepped.append(glide_sampling.ancestral(predicted, place, canvas.z, canvas.walk[canvas.step], fresh))
        put(canvases, torch.cat(stepped))
        for canvas in canvases:
            if canvas.done:
                self._enlarge(canvas)

    def finish(self, canvases: list[Canvas]) -> Tensor:
        """[-1, 1] to 256 levels."""
        return frozen.to_pixels((torch.cat([canvas.z for canvas in canvases]) + 1) / 2)

    def _predict_base(self, z: Tensor, t: Tensor, states: Tensor) -> Tensor:
        """(B, 6, h, w), noise and variance."""
        return torch.cat(self.stages["base"].denoise(z, t, states), 1)

    def _enlarge(self, canvas: Canvas) -> None:
        """From the base's image to the upsampler's first step."""
        stage, tokens = self.stages["upsampler"], canvas.kept["tokens"]
        low = ((canvas.z + 1) * 127.5).round() / 127.5 - 1  # what an image file of the base's would hold
        canvas.z = self.config.upsampler_noise * _noise(canvas.noise, self.image_size, tokens.device)
        canvas.walk = glide_sampling.walk(
            glide_sampling.section_steps(self.config.upsampler_steps), stage.scheduler.betas
        )
        canvas.text, canvas.no_text, canvas.scale = (stage.text(tokens),), (), 1
        canvas.kept, canvas.phase, canvas.step, canvas.steps = {"low": low}, "upsampler", 0, len(canvas.walk)

    def _upsample(self, canvases: list[Canvas], z: Tensor, t: Tensor) -> None:
        """z: (B, 3, H, W) in [-1, 1]."""
        low = torch.cat([canvas.kept["low"] for canvas in canvases])
        predict = lambda z, t, low, states: self.stages["upsampler"].denoise(z, t, states, low)[0]  # noqa: E731
        noise = guided(predict, self.rows, canvases, (z, t, low))
        own = zip(canvases, noise.split(1), strict=True)
        put(canvases, torch.cat([glide_sampling.ddim(n, canvas.z, canvas.walk[canvas.step]) for canvas, n in own]))

    def save(self, directory: Path) -> None:
        """`base` and `upsampler`, each with U-Net and schedule as diffusers reads them, and the tokenizer."""
        frozen.write_about(directory, family="glide", config=self.config.model_dump())
        for name in STAGES:
            self.stages[name].save(directory / name)
        self.tokenizer.save_pretrained(directory / "tokenizer")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote."""
        config = GlideConfig.model_validate(frozen.read_about(directory, "glide")["config"], strict=False)
        return cls._read(config, directory)

    @classmethod
    def _read(cls, config: GlideConfig, directory: Path) -> Self:
        base, upsampler = (Stage.load(directory / name) for name in STAGES)
        return cls(config, base, upsampler, frozen.tokenizer(str(directory), None, "tokenizer", [], CONTEXT))

    def _tokens(self, captions: list[str]) -> Tensor:
        """(B, 128); what is longer is cut."""
        read = self.tokenizer(
            captions, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt"
        )  # fmt: skip
        ids: Tensor = read.input_ids.to(self.nothing.device)
        return ids


def reduce(images: Tensor, size: int) -> Tensor:
    """(B, 3, S, S) to (B, 3, size, size): means of squares, as OpenAI's code for upsamplers makes its inputs."""
    return F.interpolate(images, (size, size), mode="area")


def _noise(source: torch.Generator, size: int, device: torch.device) -> Tensor:
    """(1, 3, size, size)."""
    return torch.randn(1, 3, size, size, generator=source).to(device)


def _place(config: GlideConfig) -> str:
    from dermray import weights

    try:
        return weights.everywhere(config.base, "model.base")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}. {REMEDY}") from None


def _directory(config: GlideConfig) -> Path:
    from dermray import weights

    return Path(weights.locate_adapter(_place(config), "model.base", config.revision))
