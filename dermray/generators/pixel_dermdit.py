"""DermDiT's idea (paper 001) in pixel space and by flow matching, small enough to learn on two CPU cores.

A diffusion transformer with cross-attention to the caption's words; text encoder and word list are trained along. A
convolutional stem and decoder with skips replace patch embedding and unpatching: they leave no patch seams and learn
faster on small images. The published architecture is in dermdit.py.
"""

import json
import math
from pathlib import Path
from typing import Self

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from dermray.config import Config
from dermray.generators import flow_matching
from dermray.generators.base import Batch, Generator, Request, Sample, initial_noise
from dermray.generators.canvas import Canvas, guided, put
from dermray.generators.coverage import Reader, WordReader
from dermray.generators.text import TextEncoder, Words


class PixelDermDiTConfig(Config):
    """Sizes of a DermDiT in pixel space; the defaults are the nano preset."""

    image_size: int = Field(32, ge=16, multiple_of=8)  # px
    stem_width: int = Field(24, ge=8, multiple_of=8)
    width: int = Field(128, ge=32, multiple_of=32)
    blocks: int = Field(3, ge=1)
    text_layers: int = Field(1, ge=1)
    words: int = Field(512, ge=8)  # vocabulary
    caption_length: int = Field(40, ge=4, le=256)  # words
    caption_dropout: float = Field(0.1, ge=0, lt=1)


class PixelDermDiT(Generator):
    """Velocity model v(z_t, t, caption)."""

    Config = PixelDermDiTConfig
    frozen_encoder = False
    ragged = ("tokens",)

    def __init__(self, config: PixelDermDiTConfig, words: Words) -> None:
        super().__init__()
        self.config, self.words = config, words
        self.image_size = config.image_size
        c, d = config.stem_width, config.width
        side = config.image_size // 4
        self.text = TextEncoder(len(words), config.caption_length, d, config.text_layers, d // 32)
        self.no_caption = nn.Parameter(torch.randn(1, 1, d) * 0.02)
        self.time = nn.Sequential(nn.Linear(d, d), nn.SiLU(), nn.Linear(d, d))
        self.stem = nn.Conv2d(3, c, 3, padding=1)
        self.down1 = nn.Conv2d(c, 2 * c, 3, stride=2, padding=1)
        self.down2 = nn.Conv2d(2 * c, d, 3, stride=2, padding=1)
        self.position = nn.Parameter(torch.randn(1, side * side, d) * 0.02)
        self.blocks = nn.ModuleList(Block(d) for _ in range(config.blocks))
        self.up2 = nn.Conv2d(d + d, 4 * 2 * c, 1)
        self.mid = Residual(2 * c, d)
        self.up1 = nn.Conv2d(2 * c + 2 * c, 4 * c, 1)
        self.last = Residual(c, d)
        self.out = nn.Conv2d(c + c, 3, 3, padding=1)
        for layer in (module for module in self.modules() if isinstance(module, nn.Conv2d)):
            layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster on CPUs
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]  # torch types a bias as optional

    @classmethod
    def from_captions(cls, config: PixelDermDiTConfig, captions: list[str]) -> Self:
        """A new model whose word list comes from `captions`."""
        return cls(config, Words.from_captions(captions, config.caption_length, config.words))

    @classmethod
    def readers(cls, config: PixelDermDiTConfig, captions: list[str], saved: Path | None = None) -> list[Reader]:
        """Its word list."""
        if saved is not None:
            _, words = _read_about(saved)
        else:
            words = Words.from_captions(captions, config.caption_length, config.words)
        return [WordReader("words", words)]

    def encode(self, images: Tensor, captions: list[str]) -> list[Sample]:
        """Pixels to [-1, 1], captions to word ids. Nothing here is learned."""
        pixels = images.float() / 127.5 - 1
        ids = [torch.tensor(self.words.ids(caption), device=images.device) for caption in captions]
        return [{"image": image, "tokens": row} for image, row in zip(pixels, ids, strict=True)]

    def forward(self, batch: Batch) -> Tensor:
        """Flow-matching loss, with captions dropped at `caption_dropout`."""
        dropped = torch.rand(len(batch["tokens"])) < self.config.caption_dropout
        text, mask = self._read(batch["tokens"], batch["tokens_mask"], dropped.to(batch["tokens"].device))
        t, losses = flow_matching.losses(lambda z, t: self.velocity(z, t, text, mask), batch["image"])
        self.seen = t, losses.detach()
        return losses.mean()

    def velocity(self, z: Tensor, t: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """z (B, 3, H, W), t (B,), text (B, T, D), mask (B, T) -> (B, 3, H, W)."""
        weights = mask.unsqueeze(-1).float()
        pooled = (text * weights).sum(1) / weights.sum(1).clamp(min=1)
        condition = self.time(timestep_embedding(t, self.config.width)) + pooled  # (B, D)
        full = self.stem(z.to(memory_format=torch.channels_last))  # (B, C, H, W)
        half = self.down1(F.silu(full))  # (B, 2C, H/2, W/2)
        quarter = self.down2(F.silu(half))  # (B, D, H/4, W/4)
        x = quarter.flatten(2).transpose(1, 2) + self.position  # (B, N, D)
        for block in self.blocks:
            x = block(x, condition, text, mask)
        x = x.transpose(1, 2).unflatten(2, quarter.shape[2:])
        x = F.pixel_shuffle(self.up2(torch.cat([x, quarter], 1)), 2)  # (B, 2C, H/2, W/2)
        x = self.mid(x, condition)
        x = F.pixel_shuffle(self.up1(torch.cat([x, half], 1)), 2)  # (B, C, H, W)
        x = self.last(x, condition)
        velocity: Tensor = self.out(torch.cat([x, full], 1))
        return velocity

    def _read(self, tokens: Tensor, mask: Tensor, dropped: Tensor) -> tuple[Tensor, Tensor]:
        """Encoded captions; dropped ones are a single learned token. Columns of padding alone are cut off."""
        longest = max(1, int(mask.sum(1).max()))
        tokens, mask = tokens[:, :longest], mask[:, :longest]
        text = self.text(tokens, mask)
        none = torch.zeros_like(mask)
        none[:, 0] = True
        without = self.no_caption.expand_as(text)
        return torch.where(dropped[:, None, None], without, text), torch.where(dropped[:, None], none, mask)

    def begin(self, request: Request, guidance_scale: float, steps: int) -> Canvas:
        """Its own noise, and its text at full length: how much is cut off must not depend on its neighbours."""
        device = self.no_caption.device
        tokens, mask = (part.to(device) for part in self.words.encode([request.prompt]))
        text = self.text(tokens, mask)
        none = torch.zeros_like(mask)
        none[:, 0] = True
        z = initial_noise([request.seed], (3, self.image_size, self.image_size)).to(device)
        return Canvas(
            z=z, text=(text, mask), no_text=(self.no_caption.expand_as(text), none), scale=guidance_scale,
            noise=torch.Generator(), walk=flow_matching.times(steps), steps=steps, side=self.image_size,
        )  # fmt: skip

    def advance(self, canvases: list[Canvas]) -> None:
        """An Euler step of each, from its own time to its next."""
        z = torch.cat([canvas.z for canvas in canvases])
        now = torch.stack([canvas.walk[canvas.step] for canvas in canvases]).to(z.device)
        following = torch.stack([canvas.walk[canvas.step + 1] for canvas in canvases]).to(z.device)
        velocity = guided(self.velocity, self.rows, canvases, (z, now))
        put(canvases, flow_matching.euler(z, velocity, now, following))

    def finish(self, canvases: list[Canvas]) -> Tensor:
        """[-1, 1] to 256 levels."""
        pixels = torch.cat([canvas.z for canvas in canvases])
        return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()

    def save(self, directory: Path) -> None:
        """`config.json` (family, config, words) and `model.safetensors`."""
        directory.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, directory / "model.safetensors")
        about = {"family": "pixel_dermdit", "config": self.config.model_dump(), "words": self.words.words}
        (directory / "config.json").write_text(json.dumps(about, indent=1))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote."""
        model = cls(*_read_about(directory))
        model.load_state_dict(load_file(directory / "model.safetensors"))
        return model


def _read_about(directory: Path) -> tuple[PixelDermDiTConfig, Words]:
    """Of a checkpoint."""
    path = directory / "config.json"
    about = json.loads(path.read_text()) if path.is_file() else {}
    if about.get("family") != "pixel_dermdit":
        raise ValueError(f"{directory}: expected a pixel_dermdit checkpoint, found {about.get('family') or 'none'}")
    config = PixelDermDiTConfig(**about["config"])
    return config, Words(about["words"], config.caption_length)


class Block(nn.Module):
    """Self-attention, cross-attention to the caption's words, feed-forward, each modulated by time (adaLN-zero)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // 32
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(3))
        self.modulation = nn.Linear(width, 9 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.qkv, self.self_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.cross_out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, condition: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """x (B, N, D), condition (B, D), text (B, T, D), mask (B, T)."""
        parts = self.modulation(F.silu(condition))[:, None].chunk(9, -1)
        shifts, scales, gates = parts[:3], parts[3:6], parts[6:]
        normed = [lambda x, i=i: self.norms[i](x) * (1 + scales[i]) + shifts[i] for i in range(3)]
        q, k, v = self.qkv(normed[0](x)).chunk(3, -1)
        x = x + gates[0] * self.self_out(self._attend(q, k, v, None))
        keys, values = self.key_value(text).chunk(2, -1)
        x = x + gates[1] * self.cross_out(self._attend(self.query(normed[1](x)), keys, values, mask))
        return x + gates[2] * self.feed_forward(normed[2](x))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))  # (B, H, N, D/H)
        attended = F.scaled_dot_product_attention(q, k, v, None if mask is None else mask[:, None, None])
        return attended.transpose(1, 2).flatten(2)


class Residual(nn.Module):
    """Two convolutions around a shift and scale by the condition."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(condition, 2 * channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (B, C, H, W), condition (B, D)."""
        scale, shift = self.modulation(F.silu(condition))[..., None, None].chunk(2, 1)
        y = self.first(F.silu(self.norm(x)))
        y = self.second(F.silu(y * (1 + scale) + shift))
        return x + y


def timestep_embedding(t: Tensor, width: int) -> Tensor:
    """Sinusoids of 1000 t, as in DiT: (B,) in [0, 1] to (B, width)."""
    frequencies = torch.exp(-math.log(10000) * torch.arange(width // 2, device=t.device) / (width // 2))
    angles = 1000 * t[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], -1)
