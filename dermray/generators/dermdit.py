"""DermDiT (paper 001): a diffusion transformer on Stable Diffusion's latents that attends to CLIP's text.

Two builds. `paper` is the published one: each block's cross-attention sees one key, timestep and pooled text added, so
its softmax is 1 whatever the query; queries and keys never get a gradient (50.3 M weights at the published size), and
every patch receives the same vector. No caption is dropped. `fixed`, the default, has the timestep and all text tokens
as keys (as the paper's text says: concatenated), padding masked, and drops captions for guidance.

The published code is not quoted here. Its layout is inferred from the paper's section 2.2, the sizes of DiT-L/4
(24 blocks of 1024, 16 heads, patch 4), CLIP's 512 text channels, and the two counts that were measured on it:
408.0 M parameters, 50.3 M of them dead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import diffusers
import torch
from pydantic import Field, model_validator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from dermray.config import Config, ConfigError
from dermray.generators import ddpm, frozen, nano
from dermray.generators.base import Batch, Generator, Request, Sample
from dermray.generators.coverage import Reader

SAMPLERS = {"ddpm": "DDPMScheduler", "ddim": "DDIMScheduler", "dpm_solver": "DPMSolverMultistepScheduler"}
FREQUENCIES = 256  # sines and cosines of a timestep, as in DiT


class DermDiTConfig(Config):
    """Sizes; the defaults are the nano preset's, train/dermdit_paper.yaml has the paper's."""

    base: str = Field("nano", description="nano, or a Stable Diffusion pipeline whose autoencoder and CLIP are used")
    revision: str | None = None
    dtype: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="of frozen parts")
    compat: Literal["fixed", "paper"] = "fixed"
    image_size: int = Field(64, ge=32, multiple_of=32)  # px
    width: int = Field(64, ge=32, multiple_of=32)
    blocks: int = Field(2, ge=1)
    heads: int = Field(2, ge=1)
    patch: int = Field(2, ge=1)
    text_width: int = Field(32, ge=1, description="channels of the text encoder; CLIP ViT-B/32 has 512, ViT-L/14 768")
    learned_sigma: bool = Field(False, description="predict variances too, trained by the variational bound")
    conditional: bool = Field(True, description="False: DiT, the unconditional baseline")
    caption_dropout: float = Field(0.1, ge=0, lt=1, description="of compat fixed")
    sampler: Literal["ddpm", "ddim", "dpm_solver"] = "ddpm"

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.width % self.heads:
            raise ConfigError(f"width={self.width}: expected a multiple of heads={self.heads}")
        return self


class Transformer(nn.Module):
    """The denoiser: latents (B, C, h, w), timesteps and text in, noise (and variance) out."""

    def __init__(self, config: DermDiTConfig, channels: int, side: int) -> None:
        from diffusers.models.embeddings import get_2d_sincos_pos_embed

        super().__init__()
        d = config.width
        self.config, self.channels, self.grid = config, channels, side // config.patch
        self.patches = nn.Conv2d(channels, d, config.patch, config.patch)
        position = torch.as_tensor(get_2d_sincos_pos_embed(d, self.grid, output_type="pt")).float()
        self.register_buffer("position", position[None], persistent=False)
        self.time = nn.Sequential(nn.Linear(FREQUENCIES, d), nn.SiLU(), nn.Linear(d, d))
        self.text = nn.Sequential(nn.Linear(config.text_width, d), nn.SiLU(), nn.Linear(d, d))
        self.blocks = nn.ModuleList(Block(d, config.heads) for _ in range(config.blocks))
        self.final = nn.Linear(d, 2 * d)
        self.out = nn.Linear(d, config.patch**2 * channels * (2 if config.learned_sigma else 1))
        for layer in (self.final, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.recompute = False

    def enable_gradient_checkpointing(self) -> None:
        """Compute blocks again in the backward pass."""
        self.recompute = True

    def forward(self, latents: Tensor, t: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """latents (B, C, h, w), t (B,) 0 .. 999, text (B, T, D), mask (B, T) -> (B, C or 2C, h, w)."""
        from diffusers.models.embeddings import get_timestep_embedding  # not at the top: a second for whoever only asks

        x = self.patches(latents).flatten(2).transpose(1, 2) + self.position  # (B, N, D)
        # as DiT's: cosines first, frequencies from 1 down to 10000^(-127/128)
        time = self.time(get_timestep_embedding(t, FREQUENCIES, flip_sin_to_cos=True, downscale_freq_shift=0))  # (B, D)
        keys, seen, condition = self._keys(time, text, mask)
        for block in self.blocks:
            x = checkpoint(block, x, keys, seen, use_reentrant=False) if self.recompute else block(x, keys, seen)
        shift, scale = self.final(F.silu(condition))[:, None].chunk(2, -1)
        x = self.out(F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift)
        x = x.unflatten(1, (self.grid, self.grid)).unflatten(-1, (self.config.patch, self.config.patch, -1))
        image: Tensor = x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)  # (B, C, h, w)
        return image

    def _keys(self, time: Tensor, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """What blocks attend to (B, K, D), which of it (B, K), and the condition of the last layer (B, D)."""
        if not self.config.conditional:
            return time[:, None], None, time
        words = self.text(text)
        weights = mask[..., None].to(words.dtype)
        if self.config.compat == "paper":  # text is one pooled vector already
            condition = time + words[:, 0]
            return condition[:, None], None, condition
        pooled = (words * weights).sum(1) / weights.sum(1).clamp(min=1)
        keys = torch.cat([time[:, None], words], 1)
        return keys, torch.cat([mask.new_ones(len(mask), 1), mask], 1), time + pooled


class Block(nn.Module):
    """Self-attention, cross-attention to the condition, feed-forward; each after a layer norm, each added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False, eps=1e-6) for _ in range(3))
        self.qkv, self.self_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.cross_out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, keys: Tensor, seen: Tensor | None) -> Tensor:
        """x (B, N, D), keys (B, K, D), seen (B, K) -> (B, N, D)."""
        q, k, v = self.qkv(self.norms[0](x)).chunk(3, -1)
        x = x + self.self_out(self._attend(q, k, v, None))
        crossed = self._attend(self.query(self.norms[1](x)), self.key(keys), self.value(keys), seen)
        x = x + self.cross_out(crossed)
        added: Tensor = x + self.feed_forward(self.norms[2](x))
        return added

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))  # (B, H, N, D/H)
        attended = F.scaled_dot_product_attention(q, k, v, None if seen is None else seen[:, None, None])
        return attended.transpose(1, 2).flatten(2)


class DermDiT(Generator):
    """The transformer between a frozen autoencoder and a frozen CLIP."""

    Config = DermDiTConfig
    ragged = ("text",)

    def __init__(self, config: DermDiTConfig, pipeline: Any) -> None:
        super().__init__()
        self.config, self.image_size = config, config.image_size
        self.pipeline = pipeline
        self.vae, self.clip, self.tokenizer = pipeline.vae, pipeline.text_encoder, pipeline.tokenizer
        side = config.image_size // 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.transformer = Transformer(config, self.vae.config.latent_channels, side)
        if config.text_width != self.clip.config.hidden_size:
            raise ValueError(
                f"text_width={config.text_width}: the base's text encoder has {self.clip.config.hidden_size}"
            )
        # DiT's and the published schedule: linear betas over 1000 steps
        variance = "learned_range" if config.learned_sigma else "fixed_small"
        self.noise_schedule = diffusers.DDPMScheduler(beta_schedule="linear", clip_sample=False, variance_type=variance)

    @classmethod
    def from_captions(cls, config: DermDiTConfig, captions: list[str]) -> Self:
        """A new transformer; `captions` make the words of the nano base."""
        build = lambda: nano.stable_diffusion(captions)  # noqa: E731
        return cls(config, frozen.load_pipeline(config.base, config.revision, config.dtype, build))

    @classmethod
    def makes_words(cls, config: DermDiTConfig) -> bool:
        """The nano base's tokenizer is made."""
        return config.base == frozen.NANO

    @classmethod
    def readers(cls, config: DermDiTConfig, captions: list[str], saved: Path | None = None) -> list[Reader]:
        """CLIP's; none for the unconditional baseline."""
        if not config.conditional:
            return []
        return [frozen.clip_reader(frozen.saved_base(config.base, saved), config.revision, captions)]

    @classmethod
    def encoded_by(cls, config: DermDiTConfig) -> dict[str, Any] | None:
        """Latents and text by the frozen parts of the base."""
        return frozen.encoded_by(config, "compat")

    def train(self, mode: bool = True) -> Self:
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        self.vae.eval()
        self.clip.eval()
        return self

    @torch.no_grad()
    def encode(self, images: Tensor, captions: list[str]) -> list[Sample]:
        """Latent moments and CLIP's tokens (T, D) without padding; one pooled token in compat paper."""
        moments = frozen.latent_moments(self.vae, images)
        return [{"moments": m, "text": t} for m, t in zip(moments, self._text(captions), strict=True)]

    def forward(self, batch: Batch) -> Tensor:
        """Mean squared error of the noise; with learned variances, plus the variational bound / 1000 (Nichol and
        Dhariwal 2021, equation 16: L_simple + 0.001 L_vlb)."""
        latents = frozen.draw_latents(self.vae, batch["moments"])
        noise, t = torch.randn_like(latents), ddpm.draw_timesteps(len(latents), self.noise_schedule, latents)
        noisy = self.noise_schedule.add_noise(latents, noise, t)
        share = self.config.caption_dropout if self.config.compat == "fixed" else 0.0
        dropped = (torch.rand(len(latents)) < share).to(latents.device)
        out = self.transformer(noisy, t, batch["text"], batch["text_mask"] & ~dropped[:, None])
        predicted = out[:, : latents.shape[1]]
        loss = ddpm.loss(predicted, latents, noise, t, self.noise_schedule, None)
        if self.config.learned_sigma:
            variance = out[:, latents.shape[1] :]
            # L_vlb sums over the 1000 steps, of which one is drawn here: 0.001 x 1000 = 1
            loss = loss + ddpm.variational_bound(predicted, variance, latents, noisy, t, self.noise_schedule)
        self.seen = t / self.noise_schedule.config.num_train_timesteps, loss.detach()
        return loss.mean()

    @torch.no_grad()
    def sample(self, requests: list[Request], guidance_scale: float, steps: int) -> Tensor:
        """diffusers' scheduler named by `sampler`, from each request's own noise. Unguided in compat paper."""
        # only ddpm uses a learned variance; dpm_solver would cut a latent of 4 channels down to 3 for it
        variance = {} if self.config.sampler == "ddpm" else {"variance_type": None}
        sampler = getattr(diffusers, SAMPLERS[self.config.sampler])
        scheduler = sampler.from_config(self.noise_schedule.config, **variance)
        scheduler.set_timesteps(steps)
        weight = next(self.transformer.parameters())
        shape = (self.transformer.channels, *[self.transformer.grid * self.config.patch] * 2)
        generators = frozen.generators(requests)
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        z = noise.to(weight.device, weight.dtype) * scheduler.init_noise_sigma
        padded = self.collate([{"text": row} for row in self._text([r.prompt for r in requests])])
        text, mask = padded["text"], padded["text_mask"]
        guided = guidance_scale != 1 and self.config.compat == "fixed" and self.config.conditional
        with frozen.evaluating(self):
            for t in scheduler.timesteps:
                times = t.expand(len(z)).to(z.device)
                out = self.transformer(z, times, text, mask)
                if guided:
                    without = self.transformer(z, times, text, torch.zeros_like(mask))
                    c = z.shape[1]
                    noise = without[:, :c] + guidance_scale * (out[:, :c] - without[:, :c])
                    out = torch.cat([noise, out[:, c:]], 1)
                z = self._step(scheduler, out, t, z, generators)
            decoded = self.vae.decode((z / self.vae.config.scaling_factor).to(self.vae.dtype)).sample
        return frozen.to_pixels((decoded / 2 + 0.5).clamp(0, 1))

    def _step(self, scheduler: Any, out: Tensor, t: Tensor, z: Tensor, generators: list[torch.Generator]) -> Tensor:
        """One step of the scheduler, each request with its own generator."""
        if self.config.sampler != "ddpm":
            out = out[:, : z.shape[1]]
            return scheduler.step(out, t, z).prev_sample
        return scheduler.step(out, t, z, generator=generators).prev_sample

    def save(self, directory: Path) -> None:
        """`model.safetensors` of the transformer, config, schedule; a nano base too."""
        frozen.write_about(directory, family="dermdit", config=self.config.model_dump())
        weights = {name: value.contiguous() for name, value in self.transformer.state_dict().items()}
        save_file(weights, directory / "model.safetensors")
        self.noise_schedule.save_pretrained(directory / "scheduler")
        if self.config.base == frozen.NANO:
            self.pipeline.save_pretrained(directory / "base")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote."""
        config = DermDiTConfig(**frozen.read_about(directory, "dermdit")["config"])
        base = frozen.saved_base(config.base, directory)
        made = cls(config, frozen.load_pipeline(base, config.revision, config.dtype))
        made.transformer.load_state_dict(load_file(directory / "model.safetensors"))
        return made

    @torch.no_grad()
    def _text(self, captions: list[str]) -> list[Tensor]:
        """CLIP's tokens without padding, (T, D) each; in compat paper its pooled token, (1, D)."""
        device = next(self.clip.parameters()).device
        found = self.tokenizer(
            captions, padding=True, truncation=True, max_length=self.tokenizer.model_max_length, return_tensors="pt"
        ).to(device)
        out = self.clip(input_ids=found.input_ids, attention_mask=found.attention_mask)
        if self.config.compat == "paper":
            return [row[None].float() for row in out.pooler_output]
        lengths = found.attention_mask.sum(1).tolist()
        return [row[:length].float() for row, length in zip(out.last_hidden_state, lengths, strict=True)]
