"""What a family of flow-matching transformers says of itself: facts of its pipeline, four hooks, and what it may do
otherwise than most."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from dermray.generators import adapters, flow_schedule, frozen, kohya, nano
from dermray.generators.adapter_kind import AdapterConfig
from dermray.generators.base import Batch, Generator, Sample


class FlowLoraConfig(AdapterConfig):
    """Base model, adapter, and how noise levels are drawn. A family says which bases and targets there are."""

    base: str = Field("nano", description="nano, or a pipeline: directory, s3:// URI or hub id")
    revision: str | None = None
    dtype: Literal["fp32", "bf16"] = Field("fp32", description="of the frozen base")
    quantization: Literal["nf4", "fp8"] | None = Field(None, description="of the frozen transformer; needs a GPU")
    image_size: int = Field(64, ge=16, multiple_of=16)  # px
    targets: str = "attention"
    rank: int = Field(64, ge=1)
    alpha: float = Field(64, gt=0)
    start_from: str | None = Field(None, description="an adapter's file to go on from, diffusers' or kohya's")
    noise_levels: Literal["uniform", "logit_normal", "shifted"] = Field(
        "shifted",
        description="shifted: logit-normal, then as the sampler shifts its steps at this resolution",
    )


class FlowFamily(Generator):
    """A pipeline of diffusers' whose transformer gets adapters; `FlowLora` does the rest.

    A text is a Sample of one or several tensors. Those named in `ragged` differ in length from text to text.
    """

    # Facts of the family
    name: ClassVar[str]  # in FAMILIES
    Pipeline: ClassVar[Any]  # of diffusers'
    MODELS: ClassVar[dict[str, Any]]  # classes of diffusers or transformers by the pipeline's folders with weights
    ENCODERS: ClassVar[dict[str, str]]  # folders of text encoders, and their names among our modules
    TARGETS: ClassVar[dict[str, str]]  # regular expressions of whole module names
    DROPOUT: ClassVar[dict[str, tuple[str, ...]]]  # config's field to the tensors of a text that are left out together
    patch: ClassVar[int] = 16  # px of a token's side: sizes are multiples of it
    TEXT: ClassVar[tuple[str, ...]] = ("tokens",)  # names of a text's tensors
    drawn: ClassVar[bool] = True  # whether training draws latents from the autoencoder's moments
    noise_dtype: ClassVar[torch.dtype | None] = None  # of latents that are being drawn; None: the base's
    few_bits: ClassVar[tuple[str, ...]] = ("nf4", "fp8")  # what the transformer's blocks allow
    row_by_row: ClassVar[bool] = False  # whether a row's bits depend on the lengths of others' texts

    lycoris: ClassVar[bool] = False  # whether ComfyUI reads a LoKr by the names of diffusers' layers

    config: Any
    pipeline: Any
    vae: Any
    any_size = True
    texts_apart = True  # megabytes a caption
    drawn_by: ClassVar[tuple[str, ...]] = ("dtype", "quantization", "max_sequence_length")

    @property
    def dtype(self) -> torch.dtype:
        """Of the base. Asking the transformer for it walks over all weights."""
        return frozen.DTYPES[self.config.dtype]

    @property
    def text_names(self) -> list[str]:
        """Of a text's tensors when it is collated."""
        masked = [(name, f"{name}_mask") if name in self.ragged else (name,) for name in self.TEXT]
        return [name for names in masked for name in names]

    def tokens(self, latents: Tensor) -> int:
        """Of an image whose latents are (B, C, h, w)."""
        return latents.shape[-2] * latents.shape[-1] // self.latent_shape(self.patch)[-1] ** 2

    # The hooks

    @classmethod
    def nano(cls, config: Any, captions: list[str]) -> Any:
        """The family's pipeline in miniature; its tokenizers know the words of `captions`."""
        raise TypeError(f"{cls.__name__} has no nano base")

    @classmethod
    def reads(cls, config: Any) -> dict[str, tuple[str, int]]:
        """By folders of tokenizers: the reader's name, and how many tokens of a text it reads."""
        raise TypeError(f"{cls.__name__} does not say how it reads")

    @classmethod
    def models(cls, config: Any) -> dict[str, Any]:
        """MODELS, where a config can leave one of them out."""
        return cls.MODELS

    @classmethod
    def stand_ins(cls, config: Any, captions: list[str]) -> dict[str, Any]:
        """Tokenizers of the words of `captions` by their folders, where there is no base to read them from."""
        return {folder: nano.tokenizer(captions, limit) for folder, (_, limit) in cls.reads(config).items()}

    @classmethod
    def switches(cls, config: Any) -> dict[str, Any]:
        """What the pipeline's index says beside its parts, as the pipeline's class takes it."""
        return {}

    @classmethod
    def targets(cls, config: Any, transformer: Any) -> str:
        """Those of TARGETS that the config names, where a transformer has some that nothing depends on."""
        return cls.TARGETS[config.targets]

    def normalise(self, latents: Tensor) -> Tensor:
        """What the autoencoder makes, (B, C, h, w), as the transformer sees it, (B, C', h', w')."""
        return frozen.scaled(self.vae, latents)

    def denormalise(self, latents: Tensor) -> Tensor:
        """The way back."""
        return frozen.unscaled(self.vae, latents)

    def read(self, texts: list[str]) -> list[Sample]:
        """What the text encoders make of each text; all tensors without a batch dimension."""
        raise TypeError(f"{type(self).__name__} does not read")

    def velocity(self, latents: Tensor, sigma: Tensor, text: Batch, guidance: Tensor) -> Tensor:
        """noise - latents, as the transformer predicts it.

        Args:
            latents: (B, C, h, w) as `normalise` gives them, float32 in training. sigma: (B,) in (0, 1]. text: collated,
                with masks of what is ragged. guidance: (B,), for models that it is an input of.
        """
        raise TypeError(f"{type(self).__name__} predicts no velocity")

    def shift_mu(self, tokens: int, steps: int = 50) -> float:
        """mu by which a sampler of so many steps shifts them, for so many image tokens."""
        return flow_schedule.linear_mu(self.pipeline.scheduler.config, tokens)

    # What some families do otherwise

    def encoded(self, images: Tensor) -> Tensor:
        """Moments of the latents, (B, 2C, h, w) float32; latents (B, C, h, w) where they are not drawn.

        Args:
            images: (B, 3, H, W) uint8.
        """
        return frozen.latent_moments(self.vae, images)

    def decoded(self, latents: Tensor) -> Tensor:
        """Images in [-1, 1], (B, 3, H, W), of latents as the autoencoder takes them."""
        images: Tensor = self.vae.decode(latents).sample
        return images

    def latent_shape(self, side: int) -> tuple[int, ...]:
        """(C, h, w) that the transformer sees of an image of so many px a side."""
        cells = side // self.pipeline.vae_scale_factor
        return self.vae.config.latent_channels, cells, cells

    def training_mu(self, tokens: int) -> float:
        """mu of training's noise levels: the sampler's, or its constant shift."""
        scheduler = self.pipeline.scheduler.config
        return self.shift_mu(tokens) if scheduler.get("use_dynamic_shifting") else math.log(scheduler["shift"])

    def training_guidance(self) -> float:
        """What a model of which guidance is an input is told in training."""
        return 1.0

    def led(self, guidance_scale: float) -> float:
        """The scale of classifier-free guidance; 1 is none. Its pipeline has it above 1 alone."""
        return max(guidance_scale, 1.0)

    def mixed(self, given: Tensor, without: Tensor, scales: Tensor) -> Tensor:
        """Guided velocities, of those with text and those without; scales: (B, 1, ...)."""
        return without + scales * (given - without)

    def walk(self, tokens: int, steps: int) -> Any:
        """A scheduler of its own for an image of so many tokens, its timesteps set."""
        return flow_schedule.walk(self.pipeline.scheduler, steps, self.shift_mu(tokens, steps))

    def sigmas(self, timesteps: Tensor) -> Tensor:
        """Of a scheduler's timesteps, (B,) float32 in (0, 1000], as the transformer is told them in sampling."""
        return timesteps.to(self.dtype) / 1000

    @classmethod
    def place(cls, adapted: Collection[str], rank: int | None) -> adapters.Place:
        """Where layers of files belong, of whatever trainer."""
        return kohya.module_place(adapted)

    def to_kohya(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The adapter as ComfyUI reads it."""
        raise ValueError(
            f"family {self.name}: no layout for ComfyUI is defined; diffusers reads the model directory itself"
        )
