"""The training stage: captioned rows in, a generator of any family out."""

import hashlib

import pyarrow.compute as pc
from pydantic import BaseModel
from safetensors import SafetensorError

from dermray import manifest, node_cache, storage, weights
from dermray.config import validate
from dermray.generators.base import SOURCES, Generator, family
from dermray.generators.coverage import Coverage, Reader
from dermray.manifest import Result, Rows, Work
from dermray.records import count_rows
from dermray.train_loop import fit, how_far
from dermray.training.batches import Source, directories
from dermray.training.card import model_card
from dermray.training.clip_score import check_clip
from dermray.training.encode import at_least, encode
from dermray.training.gpu_room import require_room
from dermray.training.precompute import Encoder, draw_prior, precompute
from dermray.training.previews import preview_requests
from dermray.training.settings import TrainConfig as TrainConfig  # beside `run`, as every stage has its own
from dermray.training.settings import check
from dermray.training.task import GeneratorTask
from dermray.training.text import training_text


def run(config: TrainConfig) -> Result:
    """Train on the train split and nothing else. An interrupted run goes on from its last checkpoint.

    Raises:
        ValueError, FileNotFoundError: unknown family, wrong model config, missing or empty rows.
    """
    settings = check(config)
    identity = weights_of(config.family, settings)
    settings = resolved(settings, identity)
    rows = manifest.read(config.rows, "caption")
    with manifest.work("train", config.output, config, {"rows": rows}, how_far, **identity) as work:
        if work.finished:
            return work.finished
        family(config.family).check_start(settings)  # now: workers would find it out after hours of encoding
        if config.previews.clip is not None:
            check_clip(config.previews.clip, config.previews.clip_revision, "previews.clip")
        from dermray.cluster import connect

        connect(work.uri)
        require_room(config)
        expected, small = _counted(config, settings, rows)
        dropped = small if config.small_images == "drop" else 0
        task, images, text = _encoded(config, settings, rows, work)
        loop = config.loop.counted(images)
        work.require(images, expected - dropped)
        report = fit(task, loop, work.data)
        card = model_card(work, config.family, report, images, text, manifest.library_versions())
        storage.write_bytes(storage.join(work.data, "model", "README.md"), card.encode())
        reasons = {"rejected: smaller than the smallest size": dropped} if dropped else {}
        counts = Rows(rows_in=expected, ok=images, rejected=dropped, failed=0, reasons=reasons)
        workers = report["workers"]
        return work.commit(
            counts,
            expected,
            cpus=workers * config.loop.cpus_per_worker,
            gpus=workers * config.loop.gpus_per_worker,
            training=report,
            family=config.family,
            small_images={config.small_images: small},
            text={name: part.model_dump() for name, part in text.items()},
        )


def _counted(config: TrainConfig, settings: BaseModel, rows: Result) -> tuple[int, int]:
    """The images of the train split, and how many of them are smaller than all sizes; what becomes of these is said."""
    least = min(_sizes(config, settings))
    usable = (pc.field("status") == "ok") & (pc.field("split") == "train")
    images = count_rows(rows.row_files(), usable)
    small = images - count_rows(rows.row_files(), usable & at_least(least))
    if small:
        fate = "dropped" if config.small_images == "drop" else "enlarged"
        print(f"      {small} of {images} images have a side below {least} px: {fate} (small_images)", flush=True)
    return images, small


def _sizes(config: TrainConfig, settings: BaseModel) -> list[int]:
    """Of images, in px."""
    size: int = settings.image_size  # type: ignore[attr-defined]  # every family's config has one
    return list(config.buckets) or [size]


def _encoded(config: TrainConfig, settings: BaseModel, rows: Result, work: Work) -> tuple[GeneratorTask, int, Coverage]:
    """What workers train on, made ready in Ray Data, how many images that are, and what is read of their captions."""
    captioned, sizes = rows.row_files(), _sizes(config, settings)
    least_side = min(sizes) if config.small_images == "drop" else 0
    source = Source(storage.join(work.data, "encoded"))
    model, makes_words = settings.model_dump(), family(config.family).makes_words(settings)
    if not makes_words:  # known before any image is decoded
        text = training_text(captioned, config.family, model, None)
    found = encode(captioned, source.encoded, sizes, least_side=least_side)
    if makes_words:
        text = training_text(captioned, config.family, model, source.encoded)
    images = sum(found.values())
    if config.buckets:
        print("      " + ", ".join(f"{count} images at {px} px" for px, count in found.items()), flush=True)
    loop, previews = (
        config.loop.counted(images),
        preview_requests(config.previews, captioned, rows.manifest.rows.rows_in),
    )
    drawing = config.previews.model_dump(include={"guidance_scale", "sampling_steps", "clip", "clip_revision"})
    task = GeneratorTask(config.family, model, source, loop.model_dump(), config.flips, previews, **drawing)
    if config.validation_images:
        task.validation = Source(storage.join(work.data, "validation"))
        encode(captioned, task.validation.encoded, sizes, "val", config.validation_images, least_side=least_side)
    cache = config.cache or storage.join(work.data, "samples")
    resources = {"num_cpus": config.loop.cpus_per_worker, "num_gpus": config.loop.gpus_per_worker}
    task.prior = draw_prior(Encoder(config.family, task.model, [source.encoded]), cache, resources)
    if config.encode_ahead:
        epochs = loop.steps * loop.batch_size / images
        texts = ["", *dict.fromkeys(request.prompt for request in previews.values())]
        sources = [source, task.validation] if task.validation else [source]
        encoder = Encoder(config.family, task.model, [s.encoded for s in sources], texts)
        files, task.texts = precompute(encoder, cache, epochs, config.loop.least_and_most, resources)
        for where in sources:
            where.cache, where.files = cache, [files.pop(0) for _ in directories(where.encoded)]
    return task, images, text


def weights_of(name: str, settings: BaseModel) -> dict[str, str]:
    """Fingerprints of weights that training starts from: others under the same name are another training.

    Raises:
        FileNotFoundError: there are none.
    """
    by = family(name).encoded_by(settings) or {}
    fingerprints = {source: str(by[source]) for source in SOURCES if source in by}
    if file := getattr(settings, "start_from", None):
        if not storage.exists(storage.normalise(file)):
            raise FileNotFoundError(f"model.start_from={file}: no such file; give an adapter, local or in S3")
        fingerprints["start_from"] = hashlib.sha256(storage.read_bytes(storage.normalise(file))).hexdigest()[:12]
    return fingerprints


def resolved(settings: BaseModel, found: dict[str, str]) -> BaseModel:
    """A family's config with what `weights_of` found, so that all workers, and whoever loads the model later, take the
    same weights: by names that every node understands, and their revisions."""
    changes: dict[str, str] = {}
    for name, revision in SOURCES.items():
        place: str | None = getattr(settings, name, None)
        if place and found.get(name, place) != place:  # else built from config, or a hub out of reach
            changes |= {name: weights.everywhere(place, f"model.{name}"), revision: found[name]}
    return settings.model_copy(update=changes) if changes else settings


def load_generator(result: Result) -> Generator:
    """The generator of a finished training.

    Raises:
        ValueError: the checkpoint is another family's than the manifest says, or damaged.
    """
    directory = node_cache.local_copy(storage.join(result.data, "model"))
    try:
        return family(result.manifest.config["family"]).load(directory).eval()
    except SafetensorError as error:
        raise ValueError(f"{directory}: damaged or cut off weights ({error}); copy or train them again") from None


def load_readers(result: Result) -> list[Reader]:
    """What reads the prompts of a finished training's generator, without its weights."""
    directory = node_cache.local_copy(storage.join(result.data, "model"))
    cls, config = family(result.manifest.config["family"]), result.manifest.config
    return cls.readers(validate(cls.Config, config["model"]), [], directory)


def image_size(result: Result) -> int:
    """Side in px of what the generator of a finished training draws."""
    config = result.manifest.config
    settings = validate(family(config["family"]).Config, config["model"])
    size: int = settings.image_size  # type: ignore[attr-defined]  # every family's config has one
    return size
