"""DermDiT (paper 001): a diffusion transformer on Stable Diffusion's latents that attends to CLIP's text.

Three builds. `paper` is the published network, weight for weight: an attention pooling makes one vector of all 77
padded CLIP states, and each block's cross-attention sees one key, timestep and that vector added, so its softmax is 1
whatever the query; queries and keys never get a gradient (50.3 M weights at the published size), and every patch
receives the same vector. No caption is dropped. `fixed`, the default, has the timestep and all text tokens as keys (as
the paper's text says: concatenated), padding masked, and drops captions for guidance. `conditional: false` is the
paper's unconditional baseline, DiT.

Checkpoints hold the names of the public code: Munia03/DermDiT, and facebookresearch/DiT for the baseline.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import diffusers
import torch
from pydantic import Field, model_validator
from safetensors.torch import load_file, save_file
from torch import Tensor

from dermray.config import ConfigError
from dermray.generators import components, components_check, ddpm, frozen
from dermray.generators.base import Batch, Generator, Request, Sample
from dermray.generators.canvas import Canvas, guided, put
from dermray.generators.coverage import Reader
from dermray.generators.dermdit_start import read_start
from dermray.generators.dit import Geometry, Transformer

SAMPLERS = {"ddpm": "DDPMScheduler", "ddim": "DDIMScheduler", "dpm_solver": "DPMSolverMultistepScheduler"}
# Where T of 1000 steps begin. DiT's own: 250 are 999, 995, ... 0. The others take every 1000/T-th from 999 down. The
# default of diffusers, "leading", would begin 20 steps at 950, where images are no pure noise yet.
SPACINGS = {"ddpm": "linspace", "ddim": "trailing", "dpm_solver": "trailing"}
NETWORK = 2  # of checkpoints: 1 was no published network


class DermDiTConfig(components.PartsConfig):
    """Sizes; the defaults are the nano preset's, train/dermdit_paper.yaml has the paper's."""

    compat: Literal["fixed", "paper"] = "fixed"
    image_size: int = Field(64, ge=32, multiple_of=32)  # px
    width: int = Field(64, ge=32, multiple_of=32)
    blocks: int = Field(2, ge=1)
    heads: int = Field(2, ge=1)
    patch: int = Field(2, ge=1)
    text_width: int = Field(32, ge=1, description="channels of the text encoder; CLIP ViT-B/32 has 512, ViT-L/14 768")
    learned_sigma: bool = Field(True, description="predict variances too, trained by the variational bound")
    conditional: bool = Field(True, description="False: DiT, the unconditional baseline")
    caption_dropout: float = Field(0.1, ge=0, lt=1, description="of compat fixed")
    sampler: Literal["ddpm", "ddim", "dpm_solver"] = "ddpm"
    start_from: str | None = Field(
        None, description="weights to go on from: a .pt of DermDiT's or DiT's public code, or a model.safetensors"
    )

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.width % self.heads:
            raise ConfigError(f"width={self.width}: expected a multiple of heads={self.heads}")
        return self

    @model_validator(mode="after")
    def _whole_patches(self) -> Self:
        side = self.image_size // 8  # of latents, by the autoencoder of Stable Diffusion
        if side % self.patch:
            raise ConfigError(
                f"patch={self.patch}: latents of image_size={self.image_size} are {side} x {side}; give a patch that "
                f"divides {side}"
            )
        return self

    @property
    def conditioning(self) -> Literal["none", "pooled", "tokens"]:
        """As dit.py calls it."""
        if not self.conditional:
            return "none"
        return "pooled" if self.compat == "paper" else "tokens"


class DermDiT(Generator):
    """The transformer between a frozen autoencoder and a frozen CLIP."""

    Config = DermDiTConfig
    config: DermDiTConfig
    ragged = ("text",)
    vae: Any
    clip: Any  # none in DiT
    tokenizer: Any

    def __init__(self, config: DermDiTConfig, parts: dict[str, Any]) -> None:
        super().__init__()
        self.config, self.image_size, self.parts = config, config.image_size, parts
        self.vae, self.clip, self.tokenizer = (parts.get(name) for name in components.FOLDERS)
        if self.clip is not None and config.text_width != self.clip.config.hidden_size:
            raise ValueError(
                f"text_width={config.text_width}: the base's text encoder has {self.clip.config.hidden_size}"
            )
        self.transformer = Transformer(geometry(config, self.vae.config))
        # DiT's and the published schedule: linear betas over 1000 steps
        self.noise_schedule = diffusers.DDPMScheduler(
            beta_schedule="linear", clip_sample=False, timestep_spacing=SPACINGS["ddpm"],
            variance_type="learned_range" if config.learned_sigma else "fixed_small",
        )  # fmt: skip

    @classmethod
    def from_captions(cls, config: DermDiTConfig, captions: list[str]) -> Self:
        """A new transformer, or that of `start_from`; `captions` make the words of the nano base."""
        made = cls(config, components.load(config, captions, _wanted(config)))
        if config.start_from is not None:
            made.transformer.load_state_dict(read_start(config.start_from, made.transformer))
        return made

    @classmethod
    def check_start(cls, config: DermDiTConfig) -> None:
        """The frozen parts by their configs; `start_from` against the transformer without its weights."""
        configs = components_check.check(config, _wanted(config))
        components_check.check_width(configs, "model.text_width", config.text_width)
        if config.start_from is None:
            return
        if config.vae is None and config.base == frozen.NANO:
            vae = components.load(config, ["no caption"], ["vae"])["vae"].config
        else:
            vae = diffusers.AutoencoderKL.from_config(
                components.read_config(config, "vae", diffusers.AutoencoderKL.load_config)
            ).config
        with torch.device("meta"):
            bare = Transformer(geometry(config, vae))
        read_start(config.start_from, bare)

    @classmethod
    def makes_words(cls, config: DermDiTConfig) -> bool:
        """The nano base's tokenizer is made."""
        return config.conditional and config.text_encoder is None and config.base == frozen.NANO

    @classmethod
    def readers(cls, config: DermDiTConfig, captions: list[str], saved: Path | None = None) -> list[Reader]:
        """CLIP's; none for the unconditional baseline."""
        return [components.reader(config, captions, saved)] if config.conditional else []

    @classmethod
    def encoded_by(cls, config: DermDiTConfig) -> dict[str, Any] | None:
        """Latents and text by the frozen parts."""
        return frozen.encoded_by(config, "conditioning")

    def train(self, mode: bool = True) -> Self:
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        for part in (self.vae, self.clip):
            if part is not None:
                part.eval()
        return self

    @torch.no_grad()
    def encode(self, images: Tensor, captions: list[str]) -> list[Sample]:
        """Latent moments, and CLIP's states: (T, E) without padding, all (77, E) in compat paper, none for DiT."""
        samples: list[Sample] = [{"moments": moments} for moments in frozen.latent_moments(self.vae, images)]
        if not self.config.conditional:
            return samples
        return [sample | {"text": text} for sample, text in zip(samples, self._text(captions), strict=True)]

    def forward(self, batch: Batch) -> Tensor:
        """Mean squared error of the noise; with learned variances, plus the variational bound / 1000 (Nichol and
        Dhariwal 2021, equation 16: L_simple + 0.001 L_vlb)."""
        latents = frozen.draw_latents(self.vae, batch["moments"])
        noise, t = torch.randn_like(latents), ddpm.draw_timesteps(len(latents), self.noise_schedule, latents)
        noisy = self.noise_schedule.add_noise(latents, noise, t)
        text, mask = batch.get("text"), batch.get("text_mask")
        if self.config.conditioning == "tokens":
            dropped = (torch.rand(len(latents)) < self.config.caption_dropout).to(latents.device)
            mask = batch["text_mask"] & ~dropped[:, None]
        out = self.transformer(noisy, t, text, mask)
        predicted = out[:, : latents.shape[1]]
        loss = ddpm.loss(predicted, latents, noise, t, self.noise_schedule, None)
        if self.config.learned_sigma:
            variance = out[:, latents.shape[1] :]
            # L_vlb sums over the 1000 steps, of which one is drawn here: 0.001 x 1000 = 1
            loss = loss + ddpm.variational_bound(predicted, variance, latents, noisy, t, self.noise_schedule)
        self.seen = t / self.noise_schedule.config.num_train_timesteps, loss.detach()
        return loss.mean()

    def begin(self, request: Request, guidance_scale: float, steps: int) -> Canvas:
        """Its own noise and schedule, and its text at full length. Unguided in compat paper."""
        scheduler, size, weight = self.schedule(steps), self.transformer.size, self.transformer.pos_embed
        noise = torch.Generator().manual_seed(request.seed)
        z = torch.randn(1, size.channels, size.side, size.side, generator=noise).to(weight.device, weight.dtype)
        text = self._full_length(request.prompt)
        no_text = (text[0], torch.zeros_like(text[1])) if text else ()
        guided = self.config.conditioning == "tokens"
        return Canvas(
            z=z * scheduler.init_noise_sigma, text=text, no_text=no_text, scale=guidance_scale if guided else 1,
            noise=noise, walk=scheduler, steps=len(scheduler.timesteps), side=self.image_size,
        )  # fmt: skip

    def advance(self, canvases: list[Canvas]) -> None:
        """A step of each one's scheduler."""
        z = torch.cat([canvas.z for canvas in canvases])
        times = torch.stack([canvas.walk.timesteps[canvas.step] for canvas in canvases]).to(z.device)
        read = (lambda z, t: self.transformer(z, t, None, None)) if not self.config.conditional else self.transformer
        out = guided(read, self.rows, canvases, (z, times), channels=z.shape[1])
        put(canvases, torch.cat([self._step(*each) for each in zip(canvases, out.split(1), strict=True)]))

    def finish(self, canvases: list[Canvas]) -> Tensor:
        """Decoded."""
        return frozen.decode(self.vae, torch.cat([canvas.z for canvas in canvases]), self.rows is not None)

    def schedule(self, steps: int) -> Any:
        """diffusers' scheduler of the sampler, set to so many steps."""
        # only ddpm uses a learned variance; dpm_solver would cut a latent of 4 channels down to 3 for it
        variance = {} if self.config.sampler == "ddpm" else {"variance_type": None}
        scheduler = getattr(diffusers, SAMPLERS[self.config.sampler]).from_config(
            self.noise_schedule.config, timestep_spacing=SPACINGS[self.config.sampler], **variance
        )
        scheduler.set_timesteps(steps)
        return scheduler

    def _step(self, canvas: Canvas, out: Tensor) -> Tensor:
        """One step of its scheduler; out: (1, C or 2C, h, w)."""
        t = canvas.walk.timesteps[canvas.step]
        if self.config.sampler != "ddpm":
            out = out[:, : canvas.z.shape[1]]
            return canvas.walk.step(out, t, canvas.z).prev_sample
        return canvas.walk.step(out, t, canvas.z, generator=canvas.noise).prev_sample

    def save(self, directory: Path) -> None:
        """`model.safetensors` of the transformer, config, schedule; a nano base too."""
        frozen.write_about(directory, family="dermdit", network=NETWORK, config=self.config.model_dump())
        weights = {name: value.contiguous() for name, value in self.transformer.state_dict().items()}
        save_file(weights, directory / "model.safetensors")
        self.noise_schedule.save_pretrained(directory / "scheduler")
        if self.config.base == frozen.NANO:
            components.save(self.parts, directory / "base")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote.

        Raises:
            ValueError: no checkpoint of this family, or one of the network that was no published one.
        """
        about = frozen.read_about(directory, "dermdit")
        if about.get("network") != NETWORK:
            raise ValueError(
                f"{directory}: a checkpoint of network {about.get('network', 1)}, and this version has {NETWORK}, the "
                "published one; train it again, or load it with the version that wrote it"
            )
        config = DermDiTConfig(**about["config"])
        placed = config.model_copy(update={"base": frozen.saved_base(config.base, directory)})
        made = cls(config, components.load(placed, [], _wanted(config)))
        made.transformer.load_state_dict(load_file(directory / "model.safetensors"))
        return made

    def _full_length(self, prompt: str) -> tuple[Tensor, ...]:
        """What the transformer reads of a prompt: states (1, T, E) and which are no padding (1, T); T is always the
        longest there is, so that it does not depend on the prompts beside it. Nothing for DiT."""
        if not self.config.conditional:
            return ()
        text = self._text([prompt])[0]
        mask = torch.arange(self.tokenizer.model_max_length, device=text.device) < len(text)
        return torch.nn.functional.pad(text, (0, 0, 0, len(mask) - len(text)))[None], mask[None]

    @torch.no_grad()
    def _text(self, captions: list[str]) -> list[Tensor]:
        """CLIP's states without padding, (T, E) each. In compat paper all (77, E), with padding that CLIP sees too:
        the published sampling pads to the longest caption beside, but an image must not depend on that."""
        assert self.clip is not None and self.tokenizer is not None
        as_published = self.config.conditioning == "pooled"
        found = self.tokenizer(
            captions, padding="max_length" if as_published else True, truncation=True,
            max_length=self.tokenizer.model_max_length, return_tensors="pt",
        )  # fmt: skip
        lengths = found.attention_mask.sum(
            1
        ).tolist()  # before it goes to the device, from where it would be waited for
        given = found.to(next(self.clip.parameters()).device)
        if as_published:
            return [row.float() for row in self.clip(input_ids=given.input_ids).last_hidden_state]
        states = self.clip(input_ids=given.input_ids, attention_mask=given.attention_mask).last_hidden_state
        return [row[:length].float() for row, length in zip(states, lengths, strict=True)]


def geometry(config: DermDiTConfig, vae: Any) -> Geometry:
    """The transformer's sizes; `vae` is the config of the autoencoder."""
    return Geometry(
        width=config.width, blocks=config.blocks, heads=config.heads, patch=config.patch,
        side=config.image_size // 2 ** (len(vae.block_out_channels) - 1), channels=vae.latent_channels,
        learned_sigma=config.learned_sigma, text_width=config.text_width, conditioning=config.conditioning,
    )  # fmt: skip


def _wanted(config: DermDiTConfig) -> list[str]:
    """Frozen parts; DiT reads no text."""
    return list(components.FOLDERS) if config.conditional else ["vae"]
