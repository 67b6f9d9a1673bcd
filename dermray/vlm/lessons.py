"""What the nano captioner learns: phantoms with their truth, a loss on what it sees, a loss on what it says.

Without the first loss asymmetry and border stay at chance: the answer's few tokens teach the eye too slowly.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from dermray.captioning.answers import Attributes, phrase
from dermray.datasets.renderer import Truth, draw_phantoms
from dermray.records import COLOURS, SKIN_TONES
from dermray.vlm.nano import NanoConfig, prompt_tokens


@dataclass(frozen=True)
class Lessons:
    """N phantoms and what is true of them."""

    pixels: Tensor  # (N, 3, S, S) uint8
    patch_colours: Tensor  # (N, P, P, 7) share of each colour, and of skin, in each patch
    flags: Tensor  # (N, 2 + 6) asymmetry, irregular border, presence of each colour; 0 or 1
    tone: Tensor  # (N,) index into SKIN_TONES
    tokens: Tensor  # (N, T) prompt and answer, padded
    labels: Tensor  # (N, T) answer tokens, -100 elsewhere

    def batch(self, index: Tensor, turns: int, flip: bool) -> "Lessons":
        """Rows `index`, turned by quarter turns and mirrored: none of which changes what is true."""

        def move(grid: Tensor, dims: tuple[int, int]) -> Tensor:
            grid = torch.rot90(grid[index], turns, dims)
            return grid.flip(dims[1]) if flip else grid

        return Lessons(
            move(self.pixels, (2, 3)),
            move(self.patch_colours, (1, 2)),
            self.flags[index],
            self.tone[index],
            self.tokens[index],
            self.labels[index],
        )

    def to(self, device: torch.device) -> "Lessons":
        """The same lessons on another device."""
        return Lessons(*(getattr(self, f.name).to(device) for f in fields(self)))


def attributes_of(truth: Truth) -> Attributes:
    """A phantom's truth as a captioner should say it."""
    return Attributes(truth.asymmetry, truth.border_irregular, truth.colours, truth.skin_tone)


def draw_lessons(
    config: NanoConfig, processor: LlavaProcessor, seed: int, count: int, confounded: float = 0.0
) -> Lessons:
    """Render `count` phantoms, with decorrelated attributes unless `confounded`, and tokenise their answers."""
    drawn = list(draw_phantoms(seed, count, config.image_size, confounded))
    pixels = torch.stack([torch.from_numpy(r.image).permute(2, 0, 1) for _, r in drawn])
    index = torch.stack([torch.from_numpy(r.colour_index) for _, r in drawn]).long() + 1
    shares = F.one_hot(index, len(COLOURS) + 1).permute(0, 3, 1, 2).half()
    patch_colours = torch.cat([F.avg_pool2d(part.float(), config.patch_size) for part in shares.split(256)])
    flags = [[t.asymmetry, t.border_irregular, *(c in t.colours for c in COLOURS)] for t, _ in drawn]
    tokens, labels = _tokenise(config, processor, [phrase(attributes_of(t)) for t, _ in drawn])
    return Lessons(
        pixels,
        patch_colours.permute(0, 2, 3, 1),
        torch.tensor(flags, dtype=torch.float32),
        torch.tensor([SKIN_TONES.index(t.skin_tone) for t, _ in drawn]),
        tokens,
        labels,
    )


def _tokenise(config: NanoConfig, processor: LlavaProcessor, answers: list[str]) -> tuple[Tensor, Tensor]:
    tokenizer = processor.tokenizer
    prompt = prompt_tokens(processor, config)
    said = [[*tokenizer(a, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id] for a in answers]
    width = max(map(len, said))
    pad = tokenizer.pad_token_id
    tokens = torch.tensor([prompt + s + [pad] * (width - len(s)) for s in said])
    labels = torch.tensor([[-100] * len(prompt) + s + [-100] * (width - len(s)) for s in said])
    return tokens, labels


def shape_moments(patch_colours: Tensor) -> Tensor:
    """What makes a lesion asymmetric, as numbers: (B, P, P, 7) shares to (B, 16).

    Where each colour's centre lies off the lesion's centre (zero for rings), and the lesion's third central
    moments (zero for ellipses), all in units of about one.
    """
    side = patch_colours.shape[1]
    axis = (torch.arange(side, device=patch_colours.device) + 0.5) * 2 / side - 1
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)  # (P, P, 2)
    shares = patch_colours[..., 1:]  # without skin
    mass = shares.sum((1, 2))  # (B, 6)
    first = torch.einsum("bijc,ijd->bcd", shares, grid)  # (B, 6, 2)
    centre = first.sum(1) / mass.sum(1, keepdim=True)  # (B, 2)
    offset = (first / (mass[..., None] + 1e-6) - centre[:, None]) * (mass[..., None] > 0.5)
    away = grid[None] - centre[:, None, None]  # (B, P, P, 2)
    weight = shares.sum(-1) / mass.sum(1)[:, None, None]
    y, x = away[..., 0], away[..., 1]
    third = torch.stack([(weight * m).sum((1, 2)) for m in (x**3, x * x * y, x * y * y, y**3)], -1)
    return torch.cat([3 * offset.flatten(1), 40 * third], -1)


class Pupil(nn.Module):
    """The captioner with heads that say what its vision tower sees. Only the captioner is kept."""

    def __init__(self, model: LlavaForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        width = model.config.vision_config.hidden_size
        self.patch_head = nn.Linear(width, len(COLOURS) + 2)
        self.image_head = nn.Sequential(
            nn.LayerNorm(2 * width), nn.Linear(2 * width, 2 + len(COLOURS) + len(SKIN_TONES))
        )
        self.shape_head = nn.Sequential(nn.LayerNorm(2 * width), nn.Linear(2 * width, 2 * len(COLOURS) + 4))

    def forward(self, lessons: Lessons, speak: bool) -> Tensor:
        """Scalar loss: what is seen, and (with `speak`) what is said."""
        pixels = lessons.pixels.float() / 127.5 - 1
        states = self.model.model.vision_tower(pixels).last_hidden_state  # (B, 1 + P*P, D)
        seen = self._seeing_loss(states[:, 1:], lessons)
        if not speak:
            return seen
        return self._speaking_loss(states[:, 1:], lessons) + 0.3 * seen

    def _seeing_loss(self, patches: Tensor, lessons: Lessons) -> Tensor:
        shares = lessons.patch_colours.flatten(1, 2).float()  # (B, P*P, 7)
        said = self.patch_head(patches)
        colour = F.cross_entropy(said[..., :-1].flatten(0, 1), shares.flatten(0, 1))
        skin = shares[..., 0]
        edge = ((skin > 0.05) & (skin < 0.95)).float()
        irregular = lessons.flags[:, 1:2].expand_as(edge)
        border = F.binary_cross_entropy_with_logits(said[..., -1], irregular, edge)
        pooled = torch.cat([patches.mean(1), patches.amax(1)], -1)
        image = self.image_head(pooled)
        flags = F.binary_cross_entropy_with_logits(image[:, :-3], lessons.flags, reduction="none").mean(0)
        asymmetry, others = flags[0], flags[1:].mean()
        shape = F.smooth_l1_loss(self.shape_head(pooled), shape_moments(lessons.patch_colours.float()))
        return colour + border + 2 * others + asymmetry + 2 * shape + 0.5 * F.cross_entropy(image[:, -3:], lessons.tone)

    def _speaking_loss(self, patches: Tensor, lessons: Lessons) -> Tensor:
        model = self.model.model
        features = model.multi_modal_projector(patches)
        words = model.language_model.embed_tokens(lessons.tokens[:, patches.shape[1] :])
        states = model.language_model(inputs_embeds=torch.cat([features, words], 1)).last_hidden_state
        said = lessons.labels[0].ne(-100).nonzero()[0]  # every answer starts at the same place
        logits = self.model.lm_head(states[:, said - 1 : -1])
        return F.cross_entropy(logits.flatten(0, 1), lessons.labels[:, said:].flatten())
