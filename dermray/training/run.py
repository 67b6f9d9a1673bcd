"""The training stage: captioned rows in, a generator of any family out."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from dermray import manifest, storage
from dermray.config import Config, ConfigError, HowFast, validate
from dermray.generators.base import Generator, Request, family
from dermray.manifest import Result, Rows, Work
from dermray.records import about, read_columns
from dermray.train_loop import LoopConfig, fit
from dermray.train_loop import check as check_loop
from dermray.training.batches import EncodedImages, Order, buckets, captions_for_words
from dermray.training.card import model_card
from dermray.training.encode import encode
from dermray.training.precompute import EncodedSamples, Encoder, precompute

VALIDATION_BATCH = 16
PICTURE_SEED, PICTURE_GUIDANCE, PICTURE_STEPS = 0, 2.0, 20


class TrainConfig(Config):
    """Which rows, which family, how long."""

    output: str
    rows: str = Field(description="result of the caption stage")
    family: str = "pixel_dermdit"
    model: dict[str, Any] = Field({}, description="the family's own config")
    buckets: tuple[int, ...] = Field(
        (),
        description="px; images go to the largest that they fill, and a batch has one size. Default: the model's size",
    )
    flips: bool = Field(True, description="quarter turns and mirroring: lesions have no up")
    encode_ahead: bool = Field(False, description="run frozen encoders once, before training; keeps one orientation")
    cache: HowFast[str | None] = Field(
        None, description="where encoded images are kept for other runs too; default: the output"
    )
    validation_images: int = Field(
        0, ge=0, description="of the val split, whose loss is logged at every checkpoint; at most so many"
    )
    loop: LoopConfig


def run(config: TrainConfig) -> Result:
    """Train on the train split and nothing else. An interrupted run goes on from its last checkpoint.

    Raises:
        ValueError, FileNotFoundError: unknown family, wrong model config, missing or empty rows.
    """
    settings = check(config)
    rows = manifest.read(config.rows, "caption")
    identity = weights_of(config.family, settings)
    with manifest.work("train", config.output, config, {"rows": rows}, **identity) as work:
        if work.finished:
            return work.finished
        from dermray.cluster import connect

        connect()
        task, images = _encoded(config, settings, rows, work)
        report = fit(task, config.loop, work.data)
        card = model_card(work, config.family, report, images, manifest.library_versions())
        storage.write_bytes(storage.join(work.data, "model", "README.md"), card.encode())
        counts = Rows(rows_in=images, ok=images, rejected=0, failed=0)
        workers = report["workers"]
        return work.commit(
            counts,
            cpus=workers * config.loop.cpus_per_worker,
            gpus=workers * config.loop.gpus_per_worker,
            training=report,
            family=config.family,
        )


def _encoded(config: TrainConfig, settings: BaseModel, rows: Result, work: Work) -> tuple["GeneratorTask", int]:
    """What workers train on, made ready in Ray Data, and how many images that are."""
    size: int = settings.image_size  # type: ignore[attr-defined]  # every family's config has one
    captioned, sizes = storage.join(rows.data, "rows"), list(config.buckets) or [size]
    target = storage.join(work.data, "encoded")
    found = encode(captioned, target, sizes)
    images = sum(found.values())
    if config.buckets:
        print("      " + ", ".join(f"{count} images at {px} px" for px, count in found.items()), flush=True)
    prompts = example_prompts(captioned, rows.manifest.rows.rows_in)
    task = GeneratorTask(config.family, settings.model_dump(), target, config.loop.model_dump(), config.flips, prompts)
    if config.validation_images:
        task.validation = storage.join(work.data, "validation")
        encode(captioned, task.validation, sizes, split="val", most=config.validation_images)
    if config.encode_ahead:
        task.cache = config.cache or storage.join(work.data, "samples")
        _, workers = config.loop.least_and_most
        epochs = config.loop.steps * config.loop.batch_size / images
        encoder = Encoder(config.family, task.model, target)
        task.files = precompute(encoder, task.cache, epochs, workers, config.loop.gpus_per_worker)
    return task, images


def check(config: TrainConfig) -> BaseModel:
    """The family's own config, and what does not go together.

    Raises:
        ValueError: unknown family. ConfigError: a wrong model config, or encoding ahead where it cannot be.
    """
    cls = family(config.family)
    settings = validate(cls.Config, config.model, where=f"model of family {config.family}")
    check_loop(config.loop)
    if config.loop.keep_best and not config.validation_images:
        raise ConfigError("loop.keep_best=true: needs a validation loss; give validation_images=64 or so")
    if config.buckets and not cls.any_size:
        raise ConfigError(f"buckets={list(config.buckets)}: family {config.family} has one image size; leave them out")
    if wrong := [size for size in config.buckets if size < 32 or size % 32]:
        raise ConfigError(f"buckets={list(config.buckets)}: expected multiples of 32 px, got {wrong}")
    if kind := getattr(settings, "quantization", None):
        from dermray.generators import quantization

        quantization.check(kind, settings.base, config.loop.gpus_per_worker)  # type: ignore[attr-defined]  # has both
    if config.encode_ahead and config.flips:
        raise ConfigError(
            "encode_ahead=true keeps each image in one orientation: give flips=false too, or encode_ahead=false"
        )
    if config.encode_ahead and cls.encoded_by(settings) is None:
        raise ConfigError(f"encode_ahead=true: family {config.family} has no frozen encoder; leave it out")
    return settings


def weights_of(name: str, settings: BaseModel) -> dict[str, str]:
    """Fingerprints of weights that training starts from: others under the same name are another training.

    Raises:
        FileNotFoundError: there are none.
    """
    by, found = family(name).encoded_by(settings), {}
    if by:
        found["base"] = str(by["base"])
    if file := getattr(settings, "start_from", None):
        found["start_from"] = hashlib.sha256(storage.read_bytes(storage.normalise(file))).hexdigest()[:12]
    return found


def example_prompts(rows: str, total: int) -> dict[str, str]:
    """A caption of the train split for each label and skin tone found among some thousand rows."""
    usable = (pc.field("status") == "ok") & (pc.field("split") == "train") & pc.field("malignant").is_valid()
    usable &= about(5000, total)
    columns = ["sample_id", "caption", "malignant", "skin_tone"]
    cells = {True: "malignant", False: "benign"}
    found: dict[str, str] = {}
    for row in read_columns(rows, columns, usable).sort_by([("sample_id", "descending")]).to_pylist():
        found[f"{cells[row['malignant']]}, tone {row['skin_tone'] or 'unknown'}"] = row["caption"]
    return dict(sorted(found.items()))


def load_generator(result: Result) -> Generator:
    """The generator of a finished training.

    Raises:
        ValueError: the checkpoint is another family's than the manifest says.
    """
    directory = storage.local_copy(storage.join(result.data, "model"), storage.cache())
    return family(result.manifest.config["family"]).load(Path(directory)).eval()


def image_size(result: Result) -> int:
    """Side in px of what the generator of a finished training draws."""
    config = result.manifest.config
    settings = validate(family(config["family"]).Config, config["model"])
    size: int = settings.image_size  # type: ignore[attr-defined]  # every family's config has one
    return size


@dataclass
class GeneratorTask:
    """A generator and the shards that it learns from."""

    family: str
    model: dict[str, Any]
    encoded: str
    loop: dict[str, Any]
    flips: bool
    prompts: dict[str, str] = field(default_factory=dict)  # drawn at every checkpoint, by name
    cache: str = ""  # where `files` are, if images were encoded ahead
    files: list[list[str]] = field(default_factory=list)  # of each bucket
    validation: str = ""  # encoded images that are not trained on
    unused_parameters: bool = False

    @cached_property
    def images(self) -> list[EncodedImages]:
        """The buckets, opened where the task runs."""
        return buckets(self.encoded)

    @cached_property
    def _ahead(self) -> list[EncodedSamples]:
        pairs = zip(self.images, self.files, strict=True)
        return [EncodedSamples(images, self.cache, files) for images, files in pairs]

    @cached_property
    def _order(self) -> Order:
        return Order([len(images) for images in self.images], self.loop["batch_size"], self.loop["seed"])

    def build(self) -> nn.Module:
        """A new generator; its words are those of the training captions."""
        cls = family(self.family)
        return cls.from_captions(cls.Config(**self.model), captions_for_words(self.images))

    def arguments(self, module: nn.Module, step: int, rank: int, workers: int, part: int) -> tuple[Any, ...]:
        """A part of this worker's encoded share of the batch."""
        assert isinstance(module, Generator)
        bucket, share = self._order.share(step, rank, workers)
        index, images = share[part :: self.loop["accumulate"]], self.images[bucket]
        device = next(module.parameters()).device
        if self.files:
            batch = module.collate(self._ahead[bucket].samples(index))
            return ({name: value.to(device) for name, value in batch.items()},)
        pixels = images.pixels(index)
        if self.flips:
            pixels = turn(pixels)
        return (module.collate(module.encode(pixels.to(device), images.captions(index))),)

    def describe(self, step: int, rank: int, workers: int, part: int) -> list[str]:
        """Sample ids."""
        bucket, share = self._order.share(step, rank, workers)
        return self.images[bucket].sample_ids(share[part :: self.loop["accumulate"]])

    @torch.no_grad()
    def validation_loss(self, module: nn.Module) -> float | None:
        """Mean over the images in `validation`, batch by batch; a batch's noise has its own seed."""
        if not self.validation:
            return None
        assert isinstance(module, Generator)
        device, total, count = next(module.parameters()).device, 0.0, 0
        seen, before = module.seen, module.training
        module.eval()
        with torch.random.fork_rng():
            for images in buckets(self.validation):
                for number, index in enumerate(
                    np.array_split(np.arange(len(images)), -(-len(images) // VALIDATION_BATCH))
                ):
                    torch.manual_seed(number)
                    batch = module.collate(module.encode(images.pixels(index).to(device), images.captions(index)))
                    total += float(module(batch)) * len(index)
                    count += len(index)
        module.train(before)
        module.seen = seen
        return total / count

    def pictures(self, module: nn.Module) -> dict[str, Tensor]:
        """Each prompt from the same noise every time."""
        assert isinstance(module, Generator)
        if not self.prompts:
            return {}
        requests = [Request(prompt, PICTURE_SEED) for prompt in self.prompts.values()]
        images = module.sample(requests, PICTURE_GUIDANCE, PICTURE_STEPS)
        return {f"samples/{name}": image for name, image in zip(self.prompts, images, strict=True)}

    def save(self, module: nn.Module, directory: Path) -> None:
        """In the family's own format."""
        assert isinstance(module, Generator)
        module.save(directory)


def turn(images: Tensor) -> Tensor:
    """A batch in one random of the eight orientations of a square."""
    turned = torch.rot90(images, int(torch.randint(4, ())), (2, 3))
    return turned.flip(3) if int(torch.randint(2, ())) else turned
