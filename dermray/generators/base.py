"""What every family of text-to-image generators offers. Pure torch: nothing here or beside it knows Ray."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from dermray.generators.adapter_file import Layer
from dermray.generators.canvas import Canvas
from dermray.generators.coverage import Reader

# Found by name, imported when asked for. Adding a family: a file, a line here, a test, two presets.
FAMILIES = {
    "flux_lora": "dermray.generators.flux_lora:FluxLora",
    "flux2_klein_lora": "dermray.generators.flux2_klein_lora:Flux2KleinLora",
    "z_image_lora": "dermray.generators.z_image_lora:ZImageLora",
    "sd3_lora": "dermray.generators.sd3_lora:Sd3Lora",
    "qwen_image_lora": "dermray.generators.qwen_image_lora:QwenImageLora",
    "sana_lora": "dermray.generators.sana_lora:SanaLora",
    "stable_diffusion": "dermray.generators.stable_diffusion:StableDiffusion",
    "stable_diffusion_lora": "dermray.generators.stable_diffusion_lora:StableDiffusionLora",
    "sdxl_lora": "dermray.generators.sdxl_lora:SdxlLora",
    "latent_diffusion": "dermray.generators.latent_diffusion:LatentDiffusion",
    "dermdit": "dermray.generators.dermdit:DermDiT",
    "glide": "dermray.generators.glide:Glide",
    "pixel_dermdit": "dermray.generators.pixel_dermdit:PixelDermDiT",
}

# Fields of configs that name frozen weights, and the fields of their revisions.
SOURCES = {
    "base": "revision", "base_config": "base_config_revision", "vae": "vae_revision",
    "text_encoder": "text_encoder_revision",
}  # fmt: skip

Sample = dict[str, Tensor]  # what the frozen parts make of one image and its caption, without padding
Texts = dict[str, Sample]  # what text encoders make of texts
Batch = dict[str, Tensor]  # samples side by side; a ragged tensor `x` is padded and has `x_mask` (B, T) beside it


@dataclass(frozen=True)
class Request:
    """One image to draw."""

    prompt: str
    seed: int
    size: int | None = None  # px, where a family draws any; its `image_size` if none
    negative_prompt: str = ""  # what guidance leads away from, where a family can; else from no text


class Generator(nn.Module):
    """A family of text-to-image models. Parameters that it does not train have requires_grad off."""

    Config: type[BaseModel]
    Pipeline: ClassVar[Any] = None  # of diffusers', the class of the bases that training starts from
    config: Any
    image_size: int  # px
    any_size: ClassVar[bool] = False  # whether it trains on images of other sizes than `image_size` too
    negative_prompts: ClassVar[bool] = False  # whether guidance can lead away from a text
    seen: tuple[Tensor, Tensor] | None = None  # of the last forward: noise levels in [0, 1] (B,), losses (B,)
    texts_apart: ClassVar[bool] = False  # whether `encode` is `encode_images` beside `encode_texts`: texts are large
    frozen_encoder: ClassVar[bool] = True  # whether encoding is work, which could be done once, ahead of training
    rows: int | None = None  # of each forward in sampling, for bits that no neighbour changes; None: all in one
    drawn_by: ClassVar[tuple[str, ...]] = ()  # of families with adapters: config's fields that images depend on
    ragged: ClassVar[tuple[str, ...]] = ()  # tensors of a Sample whose first dimension differs from row to row

    @classmethod
    def from_captions(cls, config: Any, captions: list[str]) -> Self:
        """A generator to train; where a tokenizer has to be made, its words are those of `captions`."""
        raise TypeError(f"{cls.__name__} does not say how to build itself")

    @classmethod
    def makes_words(cls, config: Any) -> bool:
        """Whether `from_captions` makes a tokenizer, so that captions matter to it."""
        return True

    @classmethod
    def readers(cls, config: Any, captions: list[str], saved: Path | None = None) -> list[Reader]:
        """The tokenizers that texts go through, without the models behind them; none where no text is read.

        Args:
            captions: as for `from_captions`. saved: a checkpoint, whose own tokenizers are then the answer.
        """
        raise TypeError(f"{cls.__name__} does not say how it reads")

    @classmethod
    def encoder(cls, config: Any, captions: list[str]) -> Self:
        """What `encode` needs, built as `from_captions` builds it."""
        return cls.from_captions(config, captions)

    @classmethod
    def check_start(cls, config: Any) -> None:
        """Whether what training starts from goes with the config, found out before anything is encoded.

        Raises:
            FileNotFoundError, ValueError: it does not, and why.
        """

    @classmethod
    def without_encoders(cls, config: Any, captions: list[str], texts: Texts) -> Self:
        """As `from_captions`; where text encoders are large without them, to train on samples that were encoded ahead.

        Args:
            texts: `encode_texts` of the empty text and of all prompts that will be drawn.
        """
        return cls.from_captions(config, captions)

    def encode_texts(self, texts: list[str]) -> list[Sample]:
        """For `without_encoders`; empty where text encoders stay."""
        return [{} for _ in texts]

    @classmethod
    def encoded_by(cls, config: Any) -> dict[str, Any] | None:
        """All of a config on which `encode` depends, its weights by fingerprint: what is encoded alike can be shared.

        None where training starts from nothing that somebody else made, and encoding is no work.
        """
        return None

    @classmethod
    def prior_by(cls, config: Any) -> dict[str, Any] | None:
        """All of a config on which `draw_prior` depends; None where training needs no images of the untouched base."""
        return None

    def draw_prior(self) -> Sample:
        """Images of the untouched base, encoded, row by row: drawn once, ahead, by what `encoder` builds."""
        raise TypeError(f"{type(self).__name__} has no prior")

    def keep_prior(self, prior: Sample) -> None:
        """What `draw_prior` drew, to train with."""
        raise TypeError(f"{type(self).__name__} has no prior")

    def encode(self, images: Tensor, captions: list[str]) -> list[Sample]:
        """Frozen parts; may run once, ahead. images: (B, 3, S, S) uint8, S is `image_size` unless `any_size`."""
        raise TypeError(f"{type(self).__name__} does not encode")

    def encode_images(self, images: Tensor) -> list[Sample]:
        """`encode` without captions, where `texts_apart`: equal captions are then encoded and kept once."""
        raise TypeError(f"{type(self).__name__} does not encode images without their captions")

    def collate(self, samples: list[Sample]) -> Batch:
        """Samples side by side; ragged tensors end in zeros up to the longest."""
        batch: Batch = {}
        for name in samples[0]:
            rows = [sample[name] for sample in samples]
            if name in self.ragged:
                batch[name] = nn.utils.rnn.pad_sequence(rows, batch_first=True)
                lengths = torch.tensor([len(row) for row in rows], device=rows[0].device)
                batch[f"{name}_mask"] = torch.arange(batch[name].shape[1], device=rows[0].device) < lengths[:, None]
            else:
                batch[name] = torch.stack(rows)
        return batch

    def forward(self, batch: Batch) -> Tensor:
        """Scalar loss; inside forward, so that DDP and FSDP see it. Noise comes from torch's global generator."""
        raise TypeError(f"{type(self).__name__} has no loss")

    def clipped_apart(self) -> list[list[nn.Parameter]]:
        """Groups of what is trained whose gradients are clipped each by their own norm."""
        return [[parameter for parameter in self.parameters() if parameter.requires_grad]]

    def adaptable(self) -> dict[str, nn.Module]:
        """Models beside whose linear layers other adapters may be put, by their prefix in diffusers' files; none where
        a family takes none."""
        return {}

    def adapter_place(self, layers: Mapping[str, Collection[str]]) -> Callable[[str, Layer], dict[str, Layer]]:
        """Where an adapter file's layers belong, as `adapters.read_start` takes it.

        Args:
            layers: names of linear layers of each of the models that `adaptable` gives.
        """
        raise TypeError(f"{type(self).__name__} takes no adapters")

    def sample(self, requests: list[Request], guidance_scale: float, steps: int) -> Tensor:
        """(B, 3, S, S) uint8. A request's pixels depend on its prompt and seed, not on its neighbours' noise. All have
        one size."""
        sides = {request.size or self.image_size for request in requests}
        assert len(sides) == 1, f"requests drawn together have one size, got {sorted(sides)}"
        with evaluating(self):
            canvases = [self.begin(request, guidance_scale, steps) for request in requests]
            while under_way := [canvas for canvas in canvases if not canvas.done]:
                self.advance(under_way)
            return self.finish(canvases)

    def begin(self, request: Request, guidance_scale: float, steps: int) -> Canvas:
        """An image at its first step: its text is read, its noise drawn. For a generator in evaluation mode, within
        `torch.inference_mode()`, as `advance` and `finish` are; the three are `sample`, which can be left between
        steps."""
        raise TypeError(f"{type(self).__name__} does not sample")

    def advance(self, canvases: list[Canvas]) -> None:
        """One step of each of these; all are of one `kind`, and none is done. They may be anywhere on their ways."""
        raise TypeError(f"{type(self).__name__} does not sample")

    def finish(self, canvases: list[Canvas]) -> Tensor:
        """(B, 3, S, S) uint8 on the CPU, of canvases that are done and have one side."""
        raise TypeError(f"{type(self).__name__} does not sample")

    def save(self, directory: Path) -> None:
        """Weights and config."""
        raise TypeError(f"{type(self).__name__} does not save")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote.

        Raises:
            ValueError: the directory holds another family's checkpoint, or none.
        """
        raise TypeError(f"{cls.__name__} does not load")


def family(name: str) -> type[Generator]:
    """The class of a family.

    Raises:
        ValueError: unknown name.
    """
    if name not in FAMILIES:
        raise ValueError(f"family={name!r}: expected one of {sorted(FAMILIES)}")
    module, _, attribute = FAMILIES[name].partition(":")
    found: type[Generator] = getattr(import_module(module), attribute)
    return found


def initial_noise(seeds: list[int], shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise (len(seeds), *shape), each row from its own seed."""
    rows = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients, and the mode before afterwards."""
    before = module.training
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        module.train(before)


def without_caption(given: Tensor, nothing: Tensor, share: float) -> Tensor:
    """Captions (B, ...), each replaced by that of no text with probability `share`: for classifier-free guidance."""
    dropped = (torch.rand(len(given)) < share).to(given.device)
    return torch.where(dropped.view(-1, *[1] * (given.ndim - 1)), nothing.to(given.dtype), given)
