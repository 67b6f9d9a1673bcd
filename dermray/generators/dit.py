"""Diffusion transformers by the names that published checkpoints have.

`conditioning` says which: `none` is DiT (Peebles and Xie 2023, adaLN-zero) without classes; `pooled` is DermDiT as
published, whose text is one vector; `tokens` is DermDiT as its paper describes it. Modules are called as in
facebookresearch/DiT and in DermDiT's public code, so that their state dicts load here and ours load there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

FREQUENCIES = 256  # sines and cosines of a timestep
POOLING_HEADS = 64  # of the published text pooling


@dataclass(frozen=True)
class Geometry:
    """Sizes of a transformer. DiT-L/4 at 256 px: width 1024, 24 blocks, 16 heads, patch 4, side 32, channels 4."""

    width: int
    blocks: int
    heads: int
    patch: int
    side: int  # of latents
    channels: int  # of latents
    learned_sigma: bool
    text_width: int
    conditioning: Literal["none", "pooled", "tokens"]


class Transformer(nn.Module):
    """The denoiser: latents (B, C, h, w), timesteps and text in, noise (and variance) out."""

    pos_embed: Tensor

    def __init__(self, size: Geometry) -> None:
        super().__init__()
        self.size, self.grid = size, size.side // size.patch
        self.x_embedder = PatchEmbedding(size.channels, size.width, size.patch)
        self.t_embedder = TimestepEmbedding(size.width)
        self.y_embedder = _text_embedding(size)
        self.register_buffer("pos_embed", _positions(size.width, self.grid)[None])  # (1, N, D); published ones have it
        block = AdaptiveBlock if size.conditioning == "none" else CrossBlock
        self.blocks = nn.ModuleList(block(size.width, size.heads) for _ in range(size.blocks))
        out_channels = size.channels * (2 if size.learned_sigma else 1)
        self.final_layer = FinalLayer(size.width, size.patch**2 * out_channels)
        self.recompute = False
        _initialise(self)

    def enable_gradient_checkpointing(self) -> None:
        """Compute blocks again in the backward pass."""
        self.recompute = True

    def forward(self, latents: Tensor, t: Tensor, text: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """latents (B, C, h, w), t (B,) 0 .. 999 -> (B, C or 2C, h, w).

        Args:
            text: (B, T, E), unless conditioning is none. mask: (B, T) of what is no padding, where it is by tokens.
        """
        x = self.x_embedder(latents) + self.pos_embed  # (B, N, D)
        condition, keys, padding = self._condition(self.t_embedder(t), text, mask)
        for block in self.blocks:
            arguments = (x, condition, keys, padding)
            x = checkpoint(block, *arguments, use_reentrant=False) if self.recompute else block(*arguments)
        x = self.final_layer(x, condition).unflatten(1, (self.grid, self.grid))
        x = x.unflatten(-1, (self.size.patch, self.size.patch, -1))  # (B, row, column, p, p, C)
        image: Tensor = x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
        return image

    def _condition(
        self, time: Tensor, text: Tensor | None, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """One vector an image (B, D), what blocks attend to (B, K, D), and which of it is padding (B, K)."""
        if self.size.conditioning == "none":
            condition = time + self.y_embedder(time)
            return condition, condition[:, None], None
        assert text is not None
        if self.size.conditioning == "pooled":
            condition = time + self.y_embedder(text)
            return condition, condition[:, None], None
        assert mask is not None
        words, weights = self.y_embedder(text), mask[..., None].to(time.dtype)
        pooled = (words * weights).sum(1) / weights.sum(1).clamp(min=1)
        padding = torch.cat([torch.zeros_like(mask[:, :1]), ~mask], 1)
        return time + pooled, torch.cat([time[:, None], words], 1), padding


class CrossBlock(nn.Module):
    """Self-attention, cross-attention to the keys, feed-forward; each after a layer norm, each added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (_norm(width) for _ in range(3))
        self.attn, self.mlp = SelfAttention(width, heads), FeedForward(width)
        self.multihead_attn = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor, condition: Tensor, keys: Tensor, padding: Tensor | None) -> Tensor:
        """x (B, N, D), keys (B, K, D), padding (B, K) -> (B, N, D)."""
        x = x + self.attn(self.norm1(x))
        crossed, _ = self.multihead_attn(self.norm3(x), keys, keys, key_padding_mask=padding, need_weights=False)
        x = x + crossed
        added: Tensor = x + self.mlp(self.norm2(x))
        return added


class AdaptiveBlock(nn.Module):
    """Self-attention and feed-forward, shifted, scaled and gated by the condition (adaLN-zero)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(width), _norm(width)
        self.attn, self.mlp = SelfAttention(width, heads), FeedForward(width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, condition: Tensor, keys: Tensor, padding: Tensor | None) -> Tensor:
        """x (B, N, D), condition (B, D) -> (B, N, D)."""
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self.adaLN_modulation(condition)[:, None].chunk(6, -1)
        x = x + gate * self.attn(self.norm1(x) * (1 + scale) + shift)
        added: Tensor = x + gate_mlp * self.mlp(self.norm2(x) * (1 + scale_mlp) + shift_mlp)
        return added


class SelfAttention(nn.Module):
    """Of all patches to all patches."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) -> (B, N, D)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, H, N, D/H) each
        attended: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return attended


class FeedForward(nn.Module):
    """Two layers, four times as wide between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., D)."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return out


class PatchEmbedding(nn.Module):
    """A vector of each patch of the latents."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, patch)

    def forward(self, latents: Tensor) -> Tensor:
        """latents (B, C, h, w) -> (B, N, D)."""
        patches: Tensor = self.proj(latents).flatten(2).transpose(1, 2)
        return patches


class TimestepEmbedding(nn.Module):
    """Cosines first, frequencies from 1 down to 10000^(-127/128), then two layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """t (B,) -> (B, D)."""
        from diffusers.models.embeddings import get_timestep_embedding  # not at the top: a second for whoever only asks

        waves = get_timestep_embedding(t, FREQUENCIES, flip_sin_to_cos=True, downscale_freq_shift=0)
        time: Tensor = self.mlp(waves.to(self.mlp[0].weight.dtype))
        return time


class NoClass(nn.Module):
    """DiT's table of class labels, of which an unconditional model has one row: that of no class."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(1, width)

    def forward(self, like: Tensor) -> Tensor:
        """like (B, D) -> (B, D)."""
        row: Tensor = self.embedding_table(torch.zeros(len(like), dtype=torch.long, device=like.device))
        return row


class TextTokens(nn.Module):
    """The published text embedding without its pooling: each token by itself."""

    def __init__(self, text_width: int, width: int) -> None:
        super().__init__()
        self.norm1, self.proj, self.norm2 = nn.LayerNorm(text_width), nn.Linear(text_width, width), nn.LayerNorm(width)

    def forward(self, text: Tensor) -> Tensor:
        """text (B, T, E) -> (B, T, D)."""
        words: Tensor = self.norm2(self.proj(self.norm1(text)))
        return words


class FinalLayer(nn.Module):
    """A layer norm, shifted and scaled by the condition, and the pixels of each patch."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.norm_final, self.linear = _norm(width), nn.Linear(width, out)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (B, N, D), condition (B, D) -> (B, N, p p C)."""
        shift, scale = self.adaLN_modulation(condition)[:, None].chunk(2, -1)
        patches: Tensor = self.linear(self.norm_final(x) * (1 + scale) + shift)
        return patches


def _norm(width: int) -> nn.LayerNorm:
    return nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)


def _text_embedding(size: Geometry) -> nn.Module:
    if size.conditioning == "none":
        return NoClass(size.width)
    if size.conditioning == "tokens":
        return TextTokens(size.text_width, size.width)
    from diffusers.models.embeddings import TextTimeEmbedding  # the published code has a copy of it

    # CLIP's 512 and 768 channels have room for 64 heads, a nano encoder's 32 do not
    return TextTimeEmbedding(size.text_width, size.width, math.gcd(POOLING_HEADS, size.text_width))


def _positions(width: int, grid: int) -> Tensor:
    """(grid x grid, width) sines and cosines of each patch's row and column, counted in patches."""
    from diffusers.models.embeddings import get_2d_sincos_pos_embed

    # base_size: diffusers would stretch any grid over 16 patches
    return torch.as_tensor(get_2d_sincos_pos_embed(width, grid, base_size=grid, output_type="pt")).float()


def _initialise(model: Transformer) -> None:
    """As DiT and DermDiT do: Xavier and zero biases; small numbers about time and class; zeros where a layer is added
    to what was there, and at the end. Attention to text has torch's own, which is the same."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    patches = model.x_embedder.proj
    nn.init.xavier_uniform_(patches.weight.flatten(1))  # as if it were linear: the view shares its memory
    nn.init.zeros_(patches.bias)  # type: ignore[arg-type]  # torch types a bias as optional
    small: list[Tensor] = [weight for name, weight in model.t_embedder.named_parameters() if name.endswith("weight")]
    if isinstance(model.y_embedder, NoClass):
        small.append(model.y_embedder.embedding_table.weight)
    for weight in small:
        nn.init.normal_(weight, std=0.02)
    ends = [model.final_layer.adaLN_modulation, model.final_layer.linear]
    ends += [block.adaLN_modulation for block in model.blocks if isinstance(block, AdaptiveBlock)]
    for weight in (parameter for end in ends for parameter in end.parameters()):
        nn.init.zeros_(weight)
