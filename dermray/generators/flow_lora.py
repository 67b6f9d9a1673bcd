"""LoRA on a published flow-matching transformer: what all such families share.

Time runs as in diffusers: sigma = 1 is noise, and the target is noise - latents. A family is a file with the facts and
hooks of `FlowFamily`; docs/families.md says how one is added.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dermray.generators import adapters, base_check, flow_matching, flow_sampling, flow_text, frozen, lycoris
from dermray.generators.adapter_file import Layer
from dermray.generators.base import Batch, Request, Sample, Texts
from dermray.generators.canvas import Canvas
from dermray.generators.coverage import Reader, TokenReader
from dermray.generators.flow_family import FlowFamily


class FlowLora(FlowFamily):
    """Adapters on a transformer, with its frozen autoencoder and text encoders beside them."""

    def __init__(self, config: Any, pipeline: Any, texts: Texts | None = None) -> None:
        super().__init__()
        self.config, self.image_size = config, config.image_size
        self.pipeline, self.texts, self.vae = pipeline, texts, pipeline.vae
        for folder, module in self.ENCODERS.items():
            setattr(self, module, getattr(pipeline, folder))
        self.transformer: Any = None  # where there is only to encode
        if pipeline.transformer is None:
            return
        targets = self.targets(config, pipeline.transformer)
        self.transformer = adapters.add_lora(
            pipeline.transformer, targets, config.rank, config.alpha, config.adapter, config.lokr_factor
        )
        for part, nothing in self.encode_texts([""])[0].items():  # no caption, encoded
            self.register_buffer(f"no_{part}", nothing, persistent=False)

    @classmethod
    def from_captions(cls, config: Any, captions: list[str]) -> Self:
        """The base with fresh adapters; `captions` make the words of the nano base."""
        return cls(config, cls._pipeline(config, config.base, captions))._started()

    @classmethod
    def without_encoders(cls, config: Any, captions: list[str], texts: Texts) -> Self:
        """They have billions of parameters. A nano base keeps its encoders: it is saved with the adapters."""
        if config.base == frozen.NANO:
            return cls.from_captions(config, captions)
        return cls(config, cls._pipeline(config, config.base, without=list(cls.ENCODERS)), texts)._started()

    @classmethod
    def encoder(cls, config: Any, captions: list[str]) -> Self:
        """Autoencoder and text encoders: the transformer is most of a base, and encodes nothing."""
        return cls(config, cls._pipeline(config, config.base, captions, ["transformer"]))

    @classmethod
    def check_start(cls, config: Any) -> None:
        """The base by its files; `start_from` against the base without its weights."""
        if config.quantization not in (None, *cls.few_bits):
            raise ValueError(
                f"model.quantization={config.quantization}: the blocks of family {cls.name} do not allow it; expected "
                f"{' or '.join(cls.few_bits) or 'none'}: leave it out or give another"
            )
        base_check.check(
            config.base, config.revision, cls.Pipeline.__name__, list(cls.models(config)), cls._others(config)
        )
        if config.start_from is not None:
            models = {"transformer": cls.MODELS["transformer"]}
            build = lambda: cls.nano(config, ["no caption"])  # noqa: E731
            bare = frozen.without_weights(config.base, config.revision, build, models)["transformer"]
            adapted = adapters.add_lora(bare, cls.targets(config, bare), config.rank, config.alpha)
            cls._read_start(config, config.start_from, adapted)

    @classmethod
    def makes_words(cls, config: Any) -> bool:
        """The nano base's tokenizers are made."""
        made: bool = config.base == frozen.NANO
        return made

    @classmethod
    def readers(cls, config: Any, captions: list[str], saved: Path | None = None) -> list[Reader]:
        """The tokenizers before its text encoders."""
        base = frozen.saved_base(config.base, saved)
        return [
            TokenReader(name, frozen.tokenizer(base, config.revision, folder, captions, limit), limit)
            for folder, (name, limit) in cls.reads(config).items()
        ]

    @classmethod
    def encoded_by(cls, config: Any) -> dict[str, Any] | None:
        """Latents and text by the frozen parts of the base."""
        return frozen.encoded_by(config, *({"max_sequence_length"} & type(config).model_fields.keys()))

    def train(self, mode: bool = True) -> Self:
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        for part in (self.vae, *(getattr(self, module) for module in self.ENCODERS.values())):
            if part is not None:
                part.eval()
        return self

    def encode(self, images: Tensor, captions: list[str]) -> list[Sample]:
        """Latent moments and text of each image."""
        return [a | b for a, b in zip(self.encode_images(images), self.encode_texts(captions), strict=True)]

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> list[Sample]:
        """Latent moments (2C, h, w), or latents (C, h, w) where they are not drawn."""
        return [{"moments": moments} for moments in self.encoded(images)]

    @torch.no_grad()
    def encode_texts(self, texts: list[str]) -> list[Sample]:
        """By the text encoders, or as it was encoded ahead."""
        if self.texts is None:
            return self.read(texts)
        device = flow_text.device_of(self.transformer)
        # a file has them in another order, and canvases are told apart by it
        return [{name: self.texts[text][name].to(device) for name in self.TEXT} for text in texts]

    def forward(self, batch: Batch) -> Tensor:
        """Mean squared error of the velocity."""
        latents = self.normalise(frozen.drawn(batch["moments"]) if self.drawn else batch["moments"])
        noise, sigma = torch.randn_like(latents), self.draw_sigmas(latents)
        text = {name: value for name, value in batch.items() if name != "moments"}
        for field, names in self.DROPOUT.items():
            nothing = {name: getattr(self, f"no_{name}") for name in names}
            text |= flow_text.without_captions(text, nothing, getattr(self.config, field), self.ragged)
        guidance = torch.full((len(latents),), self.training_guidance(), device=latents.device)
        velocity = self.velocity(flow_matching.interpolate(latents, noise, sigma), sigma, text, guidance)
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
            sigma = flow_matching.shift(sigma, self.training_mu(self.tokens(latents)))
        return sigma.to(latents.device)

    def begin(self, request: Request, guidance_scale: float, steps: int) -> Canvas:
        """As diffusers' pipeline begins."""
        return flow_sampling.begin(self, request, guidance_scale, steps)

    def advance(self, canvases: list[Canvas]) -> None:
        """A step of each one's scheduler."""
        flow_sampling.advance(self, canvases)

    def finish(self, canvases: list[Canvas]) -> Tensor:
        """Decoded."""
        latents = self.denormalise(torch.cat([canvas.z for canvas in canvases]))
        return frozen.decoded_pixels(self.decoded, latents.to(self.vae.dtype), self.rows is not None)

    def adaptable(self) -> dict[str, nn.Module]:
        """The transformer."""
        return {"transformer": self.transformer}

    def adapter_place(self, layers: Mapping[str, Collection[str]]) -> adapters.Place:
        """As files of `start_from` are read; the file says which layers it has."""
        return self.place(layers["transformer"], None)

    def save(self, directory: Path) -> None:
        """`pytorch_lora_weights.safetensors` for `load_lora_weights`, alpha in its metadata; a nano base too."""
        if self.config.base == frozen.NANO:
            bare = adapters.without_adapters(self.transformer)
            type(self.pipeline)(**self.pipeline.components | {"transformer": bare}).save_pretrained(directory / "base")
        frozen.write_about(directory, family=self.name, config=self.config.model_dump())
        self.Pipeline.save_lora_weights(
            directory,
            transformer_lora_layers=adapters.lora_weights(self.transformer),
            transformer_lora_adapter_metadata=adapters.lora_config(self.transformer),
        )

    def save_kohya(self, file: Path) -> None:
        """The adapter as ComfyUI reads it; FLUX.1's as kohya's scripts do too, its LoKr as LyCORIS names it.

        Raises:
            ValueError: DoRA, or LoKr of another family.
        """
        weights, kind = adapters.lora_weights(self.transformer), self.config.adapter
        if kind == "dora" or (kind == "lokr" and not self.lycoris):
            raise ValueError(
                f"adapter={kind} of family {self.name} has no file that ComfyUI reads, as several of its layers may be "
                "one there; load the model directory in diffusers, or train adapter=lora"
            )
        if kind == "lokr":
            save_file(lycoris.lokr_to_lycoris(weights, self.config.alpha, "lycoris", self.config.rank), file)
        else:
            save_file(self.to_kohya(weights), file)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What `save` wrote, on the base that it names."""
        config = cls.Config(**frozen.read_about(directory, cls.name)["config"])
        made = cls(config, cls._pipeline(config, frozen.saved_base(config.base, directory)))  # type: ignore[attr-defined]  # all have a base
        adapters.put_lora_weights(made.transformer, adapters.read_saved(directory)["transformer"])
        return made

    def _started(self) -> Self:
        """With the adapters of `start_from`, if one is given."""
        if self.config.start_from is not None:
            layers = self._read_start(self.config, self.config.start_from, self.transformer)
            adapters.put_layers({"transformer": self.transformer}, layers)
        return self

    @classmethod
    def _read_start(cls, config: Any, file: str, transformer: Any) -> dict[str, Layer]:
        place = cls.place(adapters.adapted_modules(transformer), config.rank)
        return adapters.read_start(file, {"transformer": transformer}, config.rank, config.alpha, place)

    @classmethod
    def _pipeline(cls, config: Any, base: str, captions: Sequence[str] = (), without: Sequence[str] = ()) -> Any:
        """The base; `without` are parts that are not loaded."""
        parts = dict.fromkeys(without)
        whole = config.quantization is None or "transformer" in parts
        bits: dict[str, str] = {} if whole else {"transformer": str(config.quantization)}
        build = lambda: cls.nano(config, list(captions))  # noqa: E731
        return frozen.load_pipeline(base, config.revision, config.dtype, build, bits, parts)

    @classmethod
    def _others(cls, config: Any) -> list[str]:
        """Folders of the pipeline without weights."""
        return [*cls.reads(config), "scheduler"]
