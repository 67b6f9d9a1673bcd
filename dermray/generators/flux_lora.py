"""DermaFlux (paper 002): FLUX.1-dev with LoRA on its attention, by flow matching in latents.

Time runs as in diffusers: sigma = 1 is noise, the model is told sigma (its 1000 timesteps / 1000), and its target is
noise - latents. The guidance that FLUX.1-dev was distilled with is an input: 1 in training, what is asked for in
sampling (3.5 in the paper).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

import diffusers
import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn

from dermray.config import Config
from dermray.generators import adapters, base_check, flow_matching, flux_sampling, frozen, kohya, nano
from dermray.generators.adapter_file import Layer
from dermray.generators.base import Batch, Generator, Request, Sample, Texts, without_caption
from dermray.generators.canvas import Canvas
from dermray.generators.coverage import Reader, TokenReader

# Regular expressions of whole module names; in brackets the parameters at rank 64 on FLUX.1-dev.
BLOCK = r"(single_)?transformer_blocks\.\d+\."
ATTENTION = r"attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
TARGETS = {
    "image_attention": BLOCK + r"attn\.(to_[qkv]|to_out\.0)",  # (74,711,040)
    "attention": BLOCK + ATTENTION,  # (104,595,456)
    "attention_and_output": rf"{BLOCK}{ATTENTION}|single_transformer_blocks\.\d+\.proj_out",  # (149,422,080)
    "attention_and_feed_forward": rf"{BLOCK}({ATTENTION}|ff(_context)?\.net\.(0\.proj|2))",  # (179,306,496)
    "all_linear": r".*(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out|proj_out|proj_mlp|net\.0\.proj|net\.2|linear"
    r"|linear_[12]|context_embedder|x_embedder)",  # (346,972,160)
}


MODELS = ("transformer", "vae", "text_encoder", "text_encoder_2")  # folders of a pipeline
OTHERS = ("tokenizer", "tokenizer_2", "scheduler")


class FluxLoraConfig(Config):
    """Base model, adapter, and how noise levels are drawn."""

    base: str = Field("nano", description="nano, or a FLUX.1 pipeline: directory, s3:// URI or hub id")
    revision: str | None = None
    dtype: Literal["fp32", "bf16"] = Field("fp32", description="of the frozen base")
    quantization: Literal["nf4", "fp8"] | None = Field(None, description="of the frozen transformer; needs a GPU")
    image_size: int = Field(64, ge=16, multiple_of=16)  # px
    targets: str = Field("attention", pattern=f"^({'|'.join(TARGETS)})$")
    rank: int = Field(64, ge=1)
    alpha: float = Field(64, gt=0)
    start_from: str | None = Field(None, description="an adapter's file to go on from, diffusers' or kohya's")
    noise_levels: Literal["uniform", "logit_normal", "shifted"] = Field(
        "shifted",
        description="shifted: logit-normal, then as the sampler shifts its steps at this resolution",
    )
    guidance: float = Field(1.0, ge=0, description="told to the model in training")
    clip_dropout: float = Field(0.1, ge=0, lt=1, description="captions left out of CLIP's pooled embedding")
    t5_dropout: float = Field(0.1, ge=0, lt=1, description="captions left out of T5's tokens, drawn by itself")
    max_sequence_length: int = Field(128, ge=8, le=512, description="T5 tokens; FLUX attends to the padding too")


class FluxLora(Generator):
    """Adapters on FLUX's transformer, with its frozen autoencoder and text encoders beside them."""

    Config = FluxLoraConfig
    any_size = True
    texts_apart = True  # 4 MB a caption at 512 tokens
    no_pooled: Tensor  # no caption, encoded
    no_tokens: Tensor

    def __init__(self, config: FluxLoraConfig, pipeline: diffusers.FluxPipeline, texts: Texts | None = None) -> None:
        super().__init__()
        self.config, self.image_size = config, config.image_size
        self.pipeline, self.texts = pipeline, texts
        self.vae, self.clip, self.t5 = pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2
        self.transformer: Any = None  # where there is only to encode
        if pipeline.transformer is None:
            return
        self.transformer = adapters.add_lora(pipeline.transformer, TARGETS[config.targets], config.rank, config.alpha)
        nothing = self._text([""])
        self.register_buffer("no_pooled", nothing[0], persistent=False)
        self.register_buffer("no_tokens", nothing[1], persistent=False)

    @classmethod
    def from_captions(cls, config: FluxLoraConfig, captions: list[str]) -> Self:
        """The base with fresh adapters; `captions` make the words of the nano base."""
        build = lambda: nano.flux(captions, config.max_sequence_length)  # noqa: E731
        return cls(config, _pipeline(config, config.base, build))._started()

    @classmethod
    def without_encoders(cls, config: FluxLoraConfig, captions: list[str], texts: Texts) -> Self:
        """T5 alone has 4.7 billion parameters. A nano base keeps its encoders: it is saved with the adapters."""
        if config.base == frozen.NANO:
            return cls.from_captions(config, captions)
        without = {"text_encoder": None, "text_encoder_2": None}
        return cls(config, _pipeline(config, config.base, without=without), texts)._started()

    @classmethod
    def encoder(cls, config: FluxLoraConfig, captions: list[str]) -> Self:
        """Autoencoder, CLIP and T5: the transformer is 24 of FLUX's 34 GB and encodes nothing."""
        build = lambda: nano.flux(captions, config.max_sequence_length)  # noqa: E731
        return cls(config, _pipeline(config, config.base, build, {"transformer": None}))

    def _started(self) -> Self:
        """With the adapters of `start_from`, if one is given."""
        if self.config.start_from is not None:
            layers = _read_start(self.config, self.config.start_from, self.transformer)
            adapters.put_layers({"transformer": self.transformer}, layers)
        return self

    @classmethod
    def check_start(cls, config: FluxLoraConfig) -> None:
        """The base by its files; `start_from` against the base without its weights."""
        base_check.check(config.base, config.revision, "FluxPipeline", MODELS, OTHERS)
        if config.start_from is not None:
            build = lambda: nano.flux(["no caption"], config.max_sequence_length)  # noqa: E731
            models = {"transformer": diffusers.FluxTransformer2DModel}
            bare = frozen.without_weights(config.base, config.revision, build, models)["transformer"]
            adapted = adapters.add_lora(bare, TARGETS[config.targets], config.rank, config.alpha)
            _read_start(config, config.start_from, adapted)

    @classmethod
    def makes_words(cls, config: FluxLoraConfig) -> bool:
        """The nano base's tokenizer is made."""
        return config.base == frozen.NANO

    @classmethod
    def readers(cls, config: FluxLoraConfig, captions: list[str], saved: Path | None = None) -> list[Reader]:
        """CLIP's, of whose text FLUX has one pooled vector, and T5's, whose every token it attends to."""
        base, length = frozen.saved_base(config.base, saved), config.max_sequence_length
        t5 = frozen.tokenizer(base, config.revision, "tokenizer_2", captions, length)
        return [frozen.clip_reader(base, config.revision, captions), TokenReader("t5", t5, length)]

    @classmethod
    def encoded_by(cls, config: FluxLoraConfig) -> dict[str, Any] | None:
        """Latents and text by the frozen parts of the base."""
        return frozen.encoded_by(config, "max_sequence_length")

    def train(self, mode: bool = True) -> Self:
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        for part in (self.vae, self.clip, self.t5):
            if part is not None:
                part.eval()
        return self

    @torch.no_grad()
    def encode(self, images: Tensor, captions: list[str]) -> list[Sample]:
        """Latent moments, CLIP's pooled embedding (D,) and T5's tokens (T, D) of each image."""
        return [a | b for a, b in zip(self.encode_images(images), self.encode_texts(captions), strict=True)]

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> list[Sample]:
        """Latent moments (2C, h, w)."""
        return [{"moments": moments} for moments in frozen.latent_moments(self.vae, images)]

    @torch.no_grad()
    def encode_texts(self, texts: list[str]) -> list[Sample]:
        """CLIP's pooled embedding (D,) and T5's tokens (T, D)."""
        pooled, tokens = self._text(texts)
        return [{"pooled": p, "tokens": t} for p, t in zip(pooled, tokens, strict=True)]

    def forward(self, batch: Batch) -> Tensor:
        """Mean squared error of the velocity."""
        latents = frozen.draw_latents(self.vae, batch["moments"])
        noise, sigma = torch.randn_like(latents), self.draw_sigmas(latents)
        pooled = without_caption(batch["pooled"], self.no_pooled, self.config.clip_dropout)
        tokens = without_caption(batch["tokens"], self.no_tokens, self.config.t5_dropout)
        velocity = self.velocity(flow_matching.interpolate(latents, noise, sigma), sigma, pooled, tokens)
        losses = (velocity.float() - (noise - latents)).square().flatten(1).mean(1)
        self.seen = sigma, losses.detach()
        return losses.mean()

    def draw_sigmas(self, latents: Tensor) -> Tensor:
        """(B,) noise levels in (0, 1) for latents (B, C, h, w)."""
        count = len(latents)
        if self.config.noise_levels == "uniform":
            return torch.rand(count).to(latents.device)
        sigma = flow_matching.logit_normal_times(count)
        if self.config.noise_levels == "shifted":
            sigma = flow_matching.shift(sigma, self.shift_mu(latents.shape[-2] * latents.shape[-1] // 4))
        return sigma.to(latents.device)

    def shift_mu(self, tokens: int) -> float:
        """The scheduler's mu for so many image tokens: 0.4675 at 64 (128 px), 0.63 at 1024 (512 px)."""
        from diffusers.pipelines.flux.pipeline_flux import calculate_shift

        scheduler = self.pipeline.scheduler.config
        names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
        return float(calculate_shift(tokens, *(scheduler[name] for name in names)))

    def velocity(self, latents: Tensor, sigma: Tensor, pooled: Tensor, tokens: Tensor) -> Tensor:
        """latents (B, C, h, w), sigma (B,), pooled (B, D), tokens (B, T, D) -> (B, C, h, w)."""
        b, c, h, w = latents.shape
        dtype = frozen.DTYPES[self.config.dtype]  # asking the model for it walks over all weights
        guided = self.pipeline.transformer.config.guidance_embeds
        out = self.transformer(
            hidden_states=self.pipeline._pack_latents(latents.to(dtype), b, c, h, w),
            timestep=sigma.to(dtype),
            guidance=torch.full((b,), self.config.guidance, device=latents.device) if guided else None,
            pooled_projections=pooled.to(dtype),
            encoder_hidden_states=tokens.to(dtype),
            txt_ids=torch.zeros(tokens.shape[1], 3, device=latents.device, dtype=dtype),
            img_ids=self.pipeline._prepare_latent_image_ids(b, h // 2, w // 2, latents.device, dtype),
            return_dict=False,
        )[0]
        side = self.pipeline.vae_scale_factor
        unpacked: Tensor = self.pipeline._unpack_latents(out, h * side, w * side, side)
        return unpacked

    def begin(self, request: Request, guidance_scale: float, steps: int) -> Canvas:
        """As diffusers' pipeline begins."""
        pooled, tokens = self._text([request.prompt])
        return flux_sampling.begin(self.pipeline, pooled, tokens, request, self.image_size, guidance_scale, steps)

    def advance(self, canvases: list[Canvas]) -> None:
        """A step of each one's scheduler."""
        flux_sampling.advance(self.pipeline, self.transformer, canvases, self.rows)

    def finish(self, canvases: list[Canvas]) -> Tensor:
        """Decoded."""
        factor, side = self.pipeline.vae_scale_factor, canvases[0].side
        latents = self.pipeline._unpack_latents(torch.cat([c.z for c in canvases]), side, side, factor)
        return frozen.decode(self.vae, latents, self.rows is not None)

    def save(self, directory: Path) -> None:
        """`pytorch_lora_weights.safetensors` for `load_lora_weights`, alpha in its metadata; a nano base too."""
        about: dict[str, Any] = {"family": "flux_lora", "config": self.config.model_dump()}
        if self.config.base == frozen.NANO:
            bare = adapters.without_adapters(self.transformer)
            diffusers.FluxPipeline(**self.pipeline.components | {"transformer": bare}).save_pretrained(
                directory / "base"
            )
        frozen.write_about(directory, **about)
        diffusers.FluxPipeline.save_lora_weights(
            directory,
            transformer_lora_layers=adapters.lora_weights(self.transformer),
            transformer_lora_adapter_metadata=adapters.lora_config(self.transformer),
        )

    def save_kohya(self, file: Path) -> None:
        """The adapter as kohya's scripts and ComfyUI read it."""
        save_file(kohya.flux_to_kohya(adapters.lora_weights(self.transformer), self.config.alpha), file)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote, on the base that it names."""
        about = frozen.read_about(directory, "flux_lora")
        config = FluxLoraConfig(**about["config"])
        base = str(directory / "base") if config.base == frozen.NANO else config.base
        made = cls(config, _pipeline(config, base))
        adapters.put_lora_weights(made.transformer, adapters.read_saved(directory)["transformer"])
        return made

    @torch.no_grad()
    def _text(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """CLIP's pooled embeddings (B, D) and T5's tokens (B, T, D), padded as diffusers pads them."""
        if self.texts is not None:
            known, device = self.collate([self.texts[caption] for caption in captions]), _device(self.transformer)
            return known["pooled"].to(device), known["tokens"].to(device)
        device = _device(self.t5)  # not yet the transformer's where that was loaded to a GPU in few bits
        tokens, pooled, _ = self.pipeline.encode_prompt(
            captions, captions, device=device, max_sequence_length=self.config.max_sequence_length
        )
        return pooled, tokens


def _device(part: nn.Module) -> torch.device:
    return next(part.parameters()).device


def _read_start(config: FluxLoraConfig, file: str, transformer: nn.Module) -> dict[str, Layer]:
    place = kohya.flux_place(adapters.adapted_modules(transformer), config.rank)
    return adapters.read_start(file, {"transformer": transformer}, config.rank, config.alpha, place)


def _pipeline(
    config: FluxLoraConfig,
    base: str,
    build_nano: Callable[[], Any] | None = None,
    without: dict[str, None] | None = None,
) -> Any:
    whole = config.quantization is None or "transformer" in (without or {})
    bits: dict[str, str] = {} if whole else {"transformer": str(config.quantization)}
    return frozen.load_pipeline(base, config.revision, config.dtype, build_nano, bits, without)
