"""The training stage: captioned rows in, a generator of any family out."""

import hashlib

import pyarrow.compute as pc
from pydantic import BaseModel
from safetensors import SafetensorError

from dermray import manifest, node_cache, storage, weights
from dermray.config import validate
from dermray.datasets.leaks import require_whole_groups
from dermray.datasets.licences import of_result
from dermray.generators.base import SOURCES, Generator, family
from dermray.generators.coverage import Coverage, Reader, together
from dermray.manifest import Result, Rows, Work
from dermray.records import count_rows
from dermray.train_loop import TEMPORARY, fit, how_far
from dermray.training.aspects import told_of
from dermray.training.batches import Source, caption_counts, directories
from dermray.training.card import model_card
from dermray.training.clip_score import check_clip
from dermray.training.encode import at_least, encode, read_crops
from dermray.training.gpu_room import require_room
from dermray.training.precompute import Encoder, draw_prior, precompute
from dermray.training.previews import preview_requests
from dermray.training.report_block import report_block as report_block  # into a run's report
from dermray.training.settings import TrainConfig as TrainConfig  # beside `run`, as every stage has its own
from dermray.training.settings import check
from dermray.training.several_captions import more_captions
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
    config.require_commercial(of_result(rows.uri, rows.manifest.licences))
    bases = {place for name in SOURCES if (place := getattr(settings, name, None)) and place != "nano"}
    if config.commercial_use and bases:
        told = f"the images' licences allow it; those of {', '.join(sorted(bases))} are yours to read"
        print(f"      commercial_use: {told}", flush=True)
    others = [manifest.read(place, "caption") for place in config.captions]
    inputs = {"rows": rows} | {f"captions {i}": other for i, other in enumerate(others, 1)}
    with manifest.work("train", config.output, config, inputs, how_far, **identity) as work:
        if work.finished:
            return work.finished
        family(config.family).check_start(settings)  # now: workers would find it out after hours of encoding
        if config.previews.clip is not None:
            check_clip(config.previews.clip, config.previews.clip_revision, "previews.clip")
        import ray

        from dermray.cluster import connect

        connect(work.uri)
        require_room(config)
        ray.get(ray.remote(require_whole_groups).remote(rows))
        expected, small = _counted(config, settings, rows)
        dropped = small if config.small_images == "drop" else 0
        task, images, text = _encoded(config, settings, rows, work, others)
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
            temporary=TEMPORARY,
            cpus=workers * config.loop.cpus_per_worker,
            gpus=workers * config.loop.gpus_per_worker,
            training=report,
            family=config.family,
            small_images={config.small_images: small},
            crops=read_crops(task.training.encoded) if config.aspects else {},
            images_by_captions=_captions(config, task),
            text={name: part.model_dump() for name, part in text.items()},
        )


def _counted(config: TrainConfig, settings: BaseModel, rows: Result) -> tuple[int, int]:
    """The images of the train split, and how many of them are smaller than all sizes; what becomes of these is said."""
    least = 0 if config.aspects else min(_sizes(config, settings))  # else they are counted by shape
    usable = (pc.field("status") == "ok") & (pc.field("split") == "train")
    images = count_rows(rows.row_files(), usable)
    small = images - count_rows(rows.row_files(), usable & at_least(least))
    if small:
        fate = "dropped" if config.small_images == "drop" else "enlarged"
        print(f"      {small} of {images} images have a side below {least} px: {fate} (small_images)", flush=True)
    return images, small


def _captions(config: TrainConfig, task: GeneratorTask) -> dict[str, int]:
    """Images by the number of their captions, where several were asked for."""
    if not config.captions and not config.answers_apart:
        return {}
    return {str(captions): images for captions, images in caption_counts(task.training.encoded).items()}


def _sizes(config: TrainConfig, settings: BaseModel) -> list[int]:
    """Of images, in px."""
    size: int = settings.image_size  # type: ignore[attr-defined]  # every family's config has one
    return list(config.buckets) or [size]


def _encoded(
    config: TrainConfig, settings: BaseModel, rows: Result, work: Work, others: list[Result]
) -> tuple[GeneratorTask, int, Coverage]:
    """What workers train on, made ready in Ray Data, how many images that are, and what is read of their captions."""
    captioned, sizes = rows.row_files(), _sizes(config, settings)
    least_side = min(sizes) if config.small_images == "drop" else 0
    source = Source(storage.join(work.data, "encoded"))
    model, makes_words = settings.model_dump(), family(config.family).makes_words(settings)
    more = more_captions(rows, others, config.answers_apart)
    spoken = [captioned, *(other.row_files() for other in others)]
    read = lambda words: together(  # noqa: E731
        training_text(one, config.family, model, words, config.answers_apart) for one in spoken
    )
    if not makes_words:  # known before any image is decoded
        text = read(None)
    found = encode(captioned, source.encoded, sizes, least_side=least_side, more=more, aspects=config.aspects)
    if makes_words:
        text = read(source.encoded)
    images = sum(found.values())
    if config.aspects:
        print("      " + ", ".join(f"{count} at {px}" for px, count in found.items()), flush=True)
        print(f"      {told_of(read_crops(source.encoded))}", flush=True)
    elif config.buckets:
        print("      " + ", ".join(f"{count} images at {px} px" for px, count in found.items()), flush=True)
    if more is not None:
        by_number = caption_counts(source.encoded)
        told = ", ".join(f"{count} images have {number}" for number, count in by_number.items())
        print(f"      captions: {told}; an epoch shows one of each", flush=True)
    loop, previews = (
        config.loop.counted(images),
        preview_requests(config.previews, captioned, rows.manifest.rows.rows_in),
    )
    drawing = config.previews.model_dump(include={"guidance_scale", "sampling_steps", "clip", "clip_revision"})
    task = GeneratorTask(config.family, model, source, loop.model_dump(), config.flips, previews, **drawing)
    if config.validation_images:
        task.validation = Source(storage.join(work.data, "validation"))
        encode(
            captioned, task.validation.encoded, sizes, "val", config.validation_images, least_side=least_side,
            aspects=config.aspects,
        )  # fmt: skip
    cache = config.cache or storage.join(work.data, "samples")
    resources = {"num_cpus": config.loop.cpus_per_worker, "num_gpus": config.loop.gpus_per_worker}
    task.prior = draw_prior(Encoder(config.family, task.model, [source.encoded]), cache, resources)
    if config.encode_ahead:
        epochs = loop.steps * loop.batch_size / images
        drawn = [text for request in previews.values() for text in (request.prompt, request.negative_prompt) if text]
        texts = ["", *dict.fromkeys(drawn)]
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
