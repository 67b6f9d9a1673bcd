"""GLIDE's two networks (Nichol et al. 2022) in diffusers' modules, and the text transformer that diffusers has not.

Each stage is a U-Net whose self-attention has the states of its own text transformer as further keys, and whose
timestep embedding has the last of these states added. Sizes are those of the weights that OpenAI published.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import diffusers
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Sizes:
    """Of one stage."""

    side: int  # px, of the images that it was trained on
    channels_in: int  # 3, or 6 where an image of low resolution is shown beside the noisy one
    multipliers: tuple[int, ...]  # of channels, from the finest level down
    attention: tuple[bool, ...]  # per level
    residual_blocks: int  # per level
    schedule: str  # diffusers' name of the betas
    channels: int = 192
    head_width: int = 64
    groups: int = 32  # of group norms
    text_width: int = 512
    text_layers: int = 16
    text_heads: int = 8
    context: int = 128  # tokens
    words: int = 50257


STAGES = ("base", "upsampler")
PUBLISHED = {
    "base": Sizes(64, 3, (1, 2, 3, 4), (False, True, True, True), 3, "squaredcos_cap_v2"),
    "upsampler": Sizes(256, 6, (1, 1, 2, 2, 4, 4), (False, False, False, True, True, True), 2, "linear"),
}


class GlideText(ModelMixin, ConfigMixin):
    """Tokens (B, T) to states (B, T, D). No position is hidden from another: padding has embeddings that are learned.

    Args:
        padding: the token that stands after a text's end.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(self, words: int, context: int, width: int, layers: int, heads: int, padding: int) -> None:
        super().__init__()
        self.padding, self.gradient_checkpointing = padding, False
        self.token_embedding = nn.Embedding(words, width)
        self.positional_embedding = nn.Parameter(0.02 * torch.randn(context, width))
        self.padding_embedding = nn.Parameter(0.02 * torch.randn(context, width))
        self.blocks = nn.ModuleList([_Block(width, heads) for _ in range(layers)])
        self.final_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Padding is where `tokens` has it."""
        states = self.token_embedding(tokens) + self.positional_embedding
        states = torch.where((tokens != self.padding)[..., None], states, self.padding_embedding)
        recomputed = self.gradient_checkpointing and torch.is_grad_enabled()
        for block in self.blocks:
            states = self._gradient_checkpointing_func(block, states) if recomputed else block(states)
        normed: Tensor = self.final_norm(states)
        return normed


class _Block(nn.Module):
    """Self-attention and an MLP, each after a norm and added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, states: Tensor) -> Tensor:
        """(B, T, D) to the same."""
        # query, key and value of a head lie side by side, (B, T, H, 3 D/H)
        heads = self.qkv(self.norm1(states)).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, T, 3 D/H)
        attended = F.scaled_dot_product_attention(*heads.chunk(3, -1)).transpose(1, 2).flatten(2)
        states = states + self.out(attended)
        summed: Tensor = states + self.mlp(self.norm2(states))
        return summed


@dataclass
class Stage:
    """Base or upsampler: a U-Net, its text transformer, its noise schedule. Who holds a stage registers its modules."""

    unet: diffusers.UNet2DConditionModel
    text: GlideText
    scheduler: diffusers.DDPMScheduler

    @classmethod
    def build(cls, sizes: Sizes, padding: int, dropout: float = 0.1) -> Self:
        """New weights. padding: the token."""
        text = GlideText(sizes.words, sizes.context, sizes.text_width, sizes.text_layers, sizes.text_heads, padding)
        with torch.device("cpu"):  # also where the networks are built without memory, on torch's meta device
            scheduler = diffusers.DDPMScheduler(beta_schedule=sizes.schedule, variance_type="learned_range")
        return cls(_unet(sizes, dropout), text, scheduler)

    def parameters(self) -> list[nn.Parameter]:
        """Of both modules."""
        return [*self.unet.parameters(), *self.text.parameters()]

    def denoise(self, noisy: Tensor, t: Tensor, states: Tensor, low: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The noise in images (B, 3, H, W) at timesteps t (B,), and where between its bounds the log variance is, as
        -1 to 1.

        Args:
            states: of the text transformer. low: (B, 3, h, w), the upsampler's images of low resolution.
        """
        if low is not None:
            enlarged = F.interpolate(low, noisy.shape[-2:], mode="bilinear", align_corners=False)
            noisy = torch.cat([noisy, enlarged], 1)
        predicted = self.unet(noisy, t, states, class_labels=states[:, -1], return_dict=False)[0]
        noise, variance = predicted.chunk(2, 1)
        return noise, variance

    def save(self, directory: Path) -> None:
        """Folders `unet` and `scheduler` of diffusers', `text` in the same form."""
        self.unet.save_pretrained(directory / "unet")
        self.text.save_pretrained(directory / "text")
        self.scheduler.save_pretrained(directory / "scheduler")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote."""
        return cls(
            diffusers.UNet2DConditionModel.from_pretrained(directory / "unet"),
            GlideText.from_pretrained(directory / "text"),
            diffusers.DDPMScheduler.from_pretrained(directory / "scheduler"),
        )

    def set_dropout(self, share: float) -> None:
        """In the residual blocks, the only place where GLIDE has it."""
        for part in self.unet.modules():
            if isinstance(part, diffusers.models.resnet.ResnetBlock2D):
                part.dropout.p = share


def _unet(sizes: Sizes, dropout: float) -> diffusers.UNet2DConditionModel:
    down = ["SimpleCrossAttnDownBlock2D" if seen else "ResnetDownsampleBlock2D" for seen in sizes.attention]
    up = ["SimpleCrossAttnUpBlock2D" if seen else "ResnetUpsampleBlock2D" for seen in reversed(sizes.attention)]
    options: dict[str, Any] = {
        "sample_size": sizes.side, "in_channels": sizes.channels_in, "out_channels": 6,  # noise and variance
        "layers_per_block": sizes.residual_blocks,
        "block_out_channels": tuple(sizes.channels * m for m in sizes.multipliers),
        "down_block_types": tuple(down), "up_block_types": tuple(up), "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "attention_head_dim": sizes.head_width, "norm_num_groups": sizes.groups, "act_fn": "silu", "dropout": dropout,
        "resnet_time_scale_shift": "scale_shift", "cross_attention_dim": sizes.text_width,
        "class_embed_type": "simple_projection", "projection_class_embeddings_input_dim": sizes.text_width,
    }  # fmt: skip
    return diffusers.UNet2DConditionModel(**options)
