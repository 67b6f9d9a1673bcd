"""GLIDE's networks under the names of OpenAI's checkpoints, written by hand from the published topology (Nichol et al.
2022; Dhariwal and Nichol 2021): what converted weights are held to. Plain and slow: a loop over heads, nothing fused.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dermray.generators.glide_models import Sizes


class Residual(nn.Module):
    def __init__(self, given: int, made: int, embedding: int, groups: int, resample: str = "") -> None:
        super().__init__()
        self.resample = resample
        self.in_layers = nn.Sequential(nn.GroupNorm(groups, given), nn.SiLU(), nn.Conv2d(given, made, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * made))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(groups, made), nn.SiLU(), nn.Dropout(0.1), nn.Conv2d(made, made, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if given == made else nn.Conv2d(given, made, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.in_layers[1](self.in_layers[0](x))
        if self.resample == "up":
            h, x = (tensor.repeat_interleave(2, 2).repeat_interleave(2, 3) for tensor in (h, x))
        if self.resample == "down":
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        scale, shift = self.emb_layers(embedding)[:, :, None, None].chunk(2, 1)
        h = self.out_layers[0](self.in_layers[2](h)) * (1 + scale) + shift
        summed: Tensor = self.skip_connection(x) + self.out_layers[1:](h)
        return summed


class Attention(nn.Module):
    def __init__(self, channels: int, text: int, width: int, groups: int) -> None:
        super().__init__()
        self.width = width
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv, self.proj_out = nn.Conv1d(channels, 3 * channels, 1), nn.Conv1d(channels, channels, 1)
        self.encoder_kv = nn.Conv1d(text, 2 * channels, 1)

    def forward(self, x: Tensor, states: Tensor) -> Tensor:
        own, given = self.qkv(self.norm(x).flatten(2)), self.encoder_kv(states.transpose(1, 2))
        heads = []
        for q_k_v, k_v in zip(own.split(3 * self.width, 1), given.split(2 * self.width, 1), strict=True):
            (q, k, v), (text_k, text_v) = q_k_v.split(self.width, 1), k_v.split(self.width, 1)
            heads.append(attend(q, torch.cat([text_k, k], 2), torch.cat([text_v, v], 2)))
        summed: Tensor = x + self.proj_out(torch.cat(heads, 1)).view_as(x)
        return summed


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(B, C, T), (B, C, S), (B, C, S) to (B, C, T)."""
    weights = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(q.shape[1]), -1)
    return v @ weights.transpose(1, 2)


class TextBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.head = width // heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.ModuleDict({"c_qkv": nn.Linear(width, 3 * width), "c_proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        rows = self.attn["c_qkv"](self.ln_1(x)).transpose(1, 2)
        heads = [attend(*head.split(self.head, 1)) for head in rows.split(3 * self.head, 1)]
        x = x + self.attn["c_proj"](torch.cat(heads, 1).transpose(1, 2))
        summed: Tensor = x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))
        return summed


class Reference(nn.Module):
    """A stage of GLIDE."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes, c = sizes, sizes.channels
        widths, e, g = [c * m for m in sizes.multipliers], 4 * c, sizes.groups
        self.token_embedding = nn.Embedding(sizes.words, sizes.text_width)
        self.positional_embedding = nn.Parameter(torch.randn(sizes.context, sizes.text_width))
        self.padding_embedding = nn.Parameter(torch.randn(sizes.context, sizes.text_width))
        blocks = [TextBlock(sizes.text_width, sizes.text_heads) for _ in range(sizes.text_layers)]
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList(blocks)})
        self.final_ln = nn.LayerNorm(sizes.text_width)
        self.transformer_proj = nn.Linear(sizes.text_width, e)
        self.time_embed = nn.Sequential(nn.Linear(c, e), nn.SiLU(), nn.Linear(e, e))

        def attention(level: int) -> list[nn.Module]:
            seen = sizes.attention[level]
            return [Attention(widths[level], sizes.text_width, sizes.head_width, g)] if seen else []

        def block(*parts: nn.Module) -> nn.Module:
            return nn.ModuleList(parts)

        self.input_blocks = nn.ModuleList([block(nn.Conv2d(sizes.channels_in, c, 3, padding=1))])
        kept, now = [widths[0]], widths[0]
        for level, width in enumerate(widths):
            for _ in range(sizes.residual_blocks):
                self.input_blocks.append(block(Residual(now, width, e, g), *attention(level)))
                kept.append(now := width)
            if level < len(widths) - 1:
                self.input_blocks.append(block(Residual(width, width, e, g, "down")))
                kept.append(width)
        last = len(widths) - 1
        middle = Attention(now, sizes.text_width, sizes.head_width, g)
        self.middle_block = block(Residual(now, now, e, g), middle, Residual(now, now, e, g))
        self.output_blocks = nn.ModuleList()
        for level in range(last, -1, -1):
            for number in range(sizes.residual_blocks + 1):
                parts = [Residual(now + kept.pop(), now := widths[level], e, g), *attention(level)]
                if level and number == sizes.residual_blocks:
                    parts.append(Residual(now, now, e, g, "up"))
                self.output_blocks.append(block(*parts))
        self.out = nn.Sequential(nn.GroupNorm(g, now), nn.SiLU(), nn.Conv2d(now, 6, 3, padding=1))

    def read(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Text states (B, T, D)."""
        states = self.token_embedding(tokens) + self.positional_embedding
        states = torch.where(mask[..., None], states, self.padding_embedding)
        for text_block in self.transformer["resblocks"].children():
            states = text_block(states)
        normed: Tensor = self.final_ln(states)
        return normed

    def forward(self, x: Tensor, t: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """x: the noisy image, with the enlarged one of low resolution behind it where the stage takes one."""
        states, half = self.read(tokens, mask), self.sizes.channels // 2
        angles = t[:, None] * torch.exp(-math.log(10000) * torch.arange(half) / half)
        embedding = self.time_embed(torch.cat([angles.cos(), angles.sin()], 1)) + self.transformer_proj(states[:, -1])

        def through(parts: nn.Module, h: Tensor) -> Tensor:
            for part in parts.children():
                if isinstance(part, Residual):
                    h = part(h, embedding)
                else:
                    h = part(h, states) if isinstance(part, Attention) else part(h)
            return h

        kept = [x]
        for parts in self.input_blocks:
            kept.append(through(parts, kept[-1]))
        h = through(self.middle_block, kept[-1])
        for parts in self.output_blocks:
            h = through(parts, torch.cat([h, kept.pop()], 1))
        made: Tensor = self.out(h)
        return made


def bilinear(low: Tensor, side: int) -> Tensor:
    """Pixels lie at the centres of their squares (align_corners=False); the border goes on beyond them."""
    small = low.shape[-1]
    place = ((torch.arange(side) + 0.5) * small / side - 0.5).clamp(0, small - 1)
    below = place.floor().long().clamp(max=small - 2)
    share = (place - below).to(low.dtype)
    rows = low[..., below, :] * (1 - share)[:, None] + low[..., below + 1, :] * share[:, None]
    return rows[..., below] * (1 - share) + rows[..., below + 1] * share
