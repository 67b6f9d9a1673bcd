"""The synthesis stage: a generator and its training captions in, synthetic rows with provenance out."""

import json
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from dermray import manifest, storage
from dermray.captioning.reading import parse
from dermray.captioning.resume import require_each_once, resumable
from dermray.columns import Tally, add, batches
from dermray.config import Config
from dermray.counters import count_rows
from dermray.datasets.phantom import encode_png
from dermray.datasets.pixels import pixels
from dermray.exactly_once import Ids
from dermray.generators.base import Request, family
from dermray.generators.coverage import Coverage, TextCoverage, coverage, losses, together
from dermray.manifest import Result, Rows
from dermray.page_index import write_options
from dermray.picked import pick
from dermray.progress import busy, rows_written, watched
from dermray.records import SYNTHETIC, conform, sample_id
from dermray.row_files import RowFiles, row_files
from dermray.synthesis.memorization import gate, nearest
from dermray.synthesis.plan import Captions, Cell, captions_of, cell_counts, indexed, requests, sizes_of
from dermray.training.batches import buckets
from dermray.training.run import image_size, load_generator, load_readers

CALIBRATION_IMAGES = 512
FILES_PER_SCAN = 32  # of captions, that a task reads for the index of them
REQUESTS_PER_BLOCK = 1 << 16  # of the plan: each block reads captions of up to so many files


class SynthesisConfig(Config):
    """How many images, and how they are sampled."""

    output: str
    generator: str = Field(description="result of the train stage")
    rows: str = Field(description="result of the caption stage that the generator was trained on")
    count: int = Field(600, ge=1)
    sizes: tuple[int, ...] = Field(
        (), description="px, where the family draws any: equally many of each in every cell. Default: the model's size"
    )
    guidance_scale: float = Field(2.0, ge=0)
    sampling_steps: int = Field(20, ge=1, le=1000)
    gate_quantile: float = Field(0.01, ge=0, lt=1, description="of real held-out images' distances to the train split")
    seed: int = Field(0, ge=0)
    actors: int = Field(2, ge=1)
    cpus_per_actor: float = Field(1, gt=0)
    gpus_per_actor: float = Field(0, ge=0)
    batch_size: int = Field(50, ge=1, description="images per block and per sampling batch: what a crash costs")


def run(config: SynthesisConfig) -> Result:
    """Draw the plan.

    Raises:
        FileNotFoundError, ValueError: missing inputs, a generator trained on other rows, or a cell all of whose
            captions are mostly words that the generator does not know.
    """
    generator = manifest.read(config.generator, "train")
    rows = manifest.read(config.rows, "caption")
    if generator.manifest.inputs["rows"] != rows.manifest.key:
        raise ValueError(
            f"rows={config.rows}: the generator was trained on other rows (key {generator.manifest.inputs['rows']}, "
            f"these are {rows.manifest.key}); its prompts and its test split would not be its own"
        )
    sizes = _sizes(config, generator)
    with manifest.work("generate", config.output, config, {"generator": generator, "rows": rows}) as work:
        if work.finished:
            return work.finished
        import ray

        from dermray.cluster import connect

        connect(work.uri)
        captioned = rows.row_files()
        plan = storage.join(work.data, "plan")
        with watched(busy("planning")):
            cells, text, left_out = _write_plan(captioned, plan, generator, config, sizes)
        for loss in losses(text):
            print(f"      warning: {loss}", flush=True)
        if left_out:
            print(f"      warning: {left_out} captions that are mostly unknown words are no prompts", flush=True)
        with watched(busy("calibrating the gate")):
            threshold = ray.get(ray.remote(_calibrate).remote(captioned, generator, config.gate_quantile))
        target = storage.join(work.data, "rows")
        with watched(rows_written(target, config.count, ("_Draw",))):
            _draw(plan, target, generator, threshold, work.licences, config)
        checkpoint = storage.join(work.data, "checkpoint")
        ids = Ids(plan, ("plan_id",), rows=config.count), Ids(target, ("plan_id",))
        ray.get(ray.remote(require_each_once).remote(*ids, [checkpoint]))
        counts, median_distance = _counted(target, config.count)
        result = work.commit(
            Rows.count(counts),
            config.count,
            cpus=config.actors * config.cpus_per_actor,
            gpus=config.actors * config.gpus_per_actor,
            cells=cells,
            text={name: part.model_dump() for name, part in text.items()},
            captions_left_out=left_out,
            gate=threshold,
            median_nearest_distance=median_distance,
        )
        storage.delete_tree(checkpoint)  # not before: killed in between, all would be drawn again, beside what is there
        return result


def _counted(rows: str, count: int) -> tuple[Tally, float]:
    """Statuses of `count` rows, and the median of their nearest distances, of which each takes four bytes."""
    counts, distances, end = Tally(), np.empty(count, np.float32), 0
    for batch in batches(rows, ["status", "reason", "nearest_distance"]):
        add(counts, batch.select(["status", "reason"]))
        distances[end : end + len(batch)] = batch["nearest_distance"].to_numpy(zero_copy_only=False)
        end += len(batch)
    return counts, float(np.median(distances, overwrite_input=True))


def _write_plan(
    captioned: str | RowFiles, target: str, generator: Result, config: SynthesisConfig, sizes: Sequence[int]
) -> tuple[dict[str, int], Coverage, int]:
    """Requests per cell, what the generator reads of their prompts, and how many captions it cannot read.

    Whatever the number of captions and requests, this process holds a few lines for each block of them.
    """
    import ray.data

    storage.delete_tree(target)  # a plan that was cut short may have been cut into other blocks
    files = row_files(captioned).files()
    scan, merge = ray.remote(_scanned), ray.remote(num_returns=2)(_merged)
    index, told = merge.remote(
        *(scan.remote(files[i : i + FILES_PER_SCAN], i, generator) for i in range(0, len(files), FILES_PER_SCAN))
    )
    cells, left_out = ray.get(told)
    blocks = math.ceil(config.count / REQUESTS_PER_BLOCK)
    numbers = ray.data.range(config.count, override_num_blocks=blocks)
    write = partial(_write_requests, index, files, target, generator, config.seed, sizes)
    said = numbers.map_batches(write, batch_format="numpy", batch_size=None).take_all()
    return cell_counts(cells, config.count), together(map(_coverage_of, said)), left_out


def _scanned(files: list[str], first: int, generator: Result) -> Captions:
    return captions_of(files, first, load_readers(generator))


def _merged(*parts: Captions) -> tuple[dict[Cell, np.ndarray], tuple[list[Cell], int]]:
    """The index, which stays in the object store, and what the driver is told of it."""
    whole = indexed(parts)
    return whole.cells, (list(whole.cells), whole.left_out)


def _write_requests(
    index: Any,
    files: list[str],
    target: str,
    generator: Result,
    seed: int,
    sizes: Sequence[int],
    block: dict[str, np.ndarray],
) -> dict[str, list[str]]:
    """Requests with the numbers of a block into a file; what the generator reads of their prompts, as JSON."""
    import ray

    first, last = int(block["id"][0]), int(block["id"][-1])
    numbers, cells, sink = range(first, last + 1), ray.get(index), pa.BufferOutputStream()
    made = requests(cells, files, numbers, seed)
    pq.write_table(made.append_column("image_size", pa.array(sizes_of(numbers, len(cells), sizes))), sink)
    storage.write_bytes(storage.join(target, f"{first:010d}.parquet"), sink.getvalue().to_pybytes())
    covered = coverage(load_readers(generator), made["prompt"].to_pylist())
    return {"text": [json.dumps({name: part.model_dump() for name, part in covered.items()})]}


def _coverage_of(said: dict[str, Any]) -> Coverage:
    return {name: TextCoverage.model_validate(part) for name, part in json.loads(said["text"]).items()}


def _calibrate(captioned: str | RowFiles, generator: Result, quantile: float) -> float:
    """The gate, from real images that the generator never saw."""
    training, _ = training_images(generator)
    held_out = (pc.field("status") == "ok") & (pc.field("split") != "train")
    chosen = pick(captioned, [], held_out, CALIBRATION_IMAGES)
    if len(chosen) == 0:
        raise ValueError(f"{captioned}: no row outside the train split to calibrate the memorisation gate with")
    distances, _ = nearest(torch.from_numpy(pixels(chosen, training.shape[-1])), training)
    return gate(distances, quantile)


def training_images(generator: Result) -> tuple[Tensor, list[str]]:
    """(N, 3, S, S) uint8 at the size that the generator draws, and their sample ids."""
    size, pixels, ids = image_size(generator), list[Tensor](), list[str]()
    for images in buckets(storage.join(generator.data, "encoded")):
        for index in images.in_turn():
            found = images.pixels(index)
            pixels.append(resized(found, size))
            ids += images.sample_ids(index)
    return torch.cat(pixels), ids


def resized(images: Tensor, size: int) -> Tensor:
    """(B, 3, S, S) uint8 of any S to S = size px."""
    if images.shape[-1] == size:
        return images
    resized = F.interpolate(images.float(), (size, size), mode="bicubic", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8)


def _sizes(config: SynthesisConfig, generator: Result) -> tuple[int, ...]:
    """Of the images to draw, in px.

    Raises:
        ValueError: the generator draws no such size.
    """
    name, own = generator.manifest.config["family"], image_size(generator)
    if config.sizes and not family(name).any_size:
        raise ValueError(f"sizes={list(config.sizes)}: a generator of family {name} draws {own} px alone; leave it out")
    if wrong := [size for size in config.sizes if size < 32 or size % 32]:
        raise ValueError(f"sizes={list(config.sizes)}: expected multiples of 32 px, got {wrong}")
    return config.sizes or (own,)


def _draw(
    plan: str, target: str, generator: Result, threshold: float, licences: list[str], config: SynthesisConfig
) -> None:
    import ray.data

    system, path = storage.filesystem(plan)
    to_system, to_path = storage.filesystem(target)
    with resumable("plan_id", storage.join(target.removesuffix("/rows"), "checkpoint")):
        requests = ray.data.read_parquet(path, filesystem=system)
        drawn = requests.repartition(target_num_rows_per_block=config.batch_size).map_batches(
            _Draw,
            fn_constructor_args=[generator, threshold, licences, config],
            batch_format="pyarrow",
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=config.actors),
            num_cpus=config.cpus_per_actor,
            num_gpus=config.gpus_per_actor,
        )
        drawn.write_parquet(to_path, filesystem=to_system, mode="append", **write_options(SYNTHETIC))


class _Draw:
    """An actor that holds the generator and the training images."""

    def __init__(self, generator: Result, threshold: float, licences: list[str], config: SynthesisConfig) -> None:
        self.config, self.result, self.threshold = config, generator, threshold
        self.licence = " AND ".join(sorted(set(licences))) or "unknown"
        self.generator = load_generator(generator)
        if config.gpus_per_actor:
            self.generator.to("cuda")
        self.training, self.training_ids = training_images(generator)

    def __call__(self, plan: pa.Table) -> pa.Table:
        by_size: dict[int, list[dict[str, Any]]] = {}
        for request in plan.to_pylist():
            by_size.setdefault(request.pop("image_size"), []).append(request)
        made = conform([row for size, requests in by_size.items() for row in self._drawn(requests, size)], SYNTHETIC)
        count_rows("generate", made)
        return made

    def _drawn(self, requests: list[dict[str, Any]], size: int) -> list[dict[str, Any]]:
        """Rows of one size; the gate sees them at the training images'."""
        images = self.generator.sample(
            [Request(r["prompt"], r["seed"], size) for r in requests],
            self.config.guidance_scale,
            self.config.sampling_steps,
        )
        distances, numbers = nearest(resized(images, self.training.shape[-1]), self.training)
        ids = [self.training_ids[number] for number in numbers]
        pixels = images.permute(0, 2, 3, 1).numpy()
        return [self.row(*drawn) for drawn in zip(requests, pixels, distances, ids, strict=True)]

    def row(self, request: dict[str, Any], image: np.ndarray, distance: float, nearest_id: str) -> dict[str, Any]:
        """One synthetic row; rejected where it lies nearer to a training image than the gate allows."""
        png = encode_png(image)
        said = parse(request["prompt"]).attributes
        copied = bool(distance < self.threshold)
        return {name: request[name] for name in request} | {
            "sample_id": sample_id(png),
            "image": png,
            "width": image.shape[1],
            "height": image.shape[0],
            "source": "synthetic",
            "source_id": f"{self.result.manifest.key}-{request['plan_id']}",
            "skin_tone_source": "metadata" if request["skin_tone"] else None,
            "licence": self.licence,
            "origin": "synthetic",
            "split": "train",
            "status": "rejected" if copied else "ok",
            "reason": "nearer to a training image than the gate allows" if copied else None,
            "caption": request["prompt"],
            "said_asymmetry": said.asymmetry,
            "said_border_irregular": said.border_irregular,
            "said_colours": list(said.colours),
            "said_skin_tone": said.skin_tone,
            "family": self.result.manifest.config["family"],
            "generator": self.result.manifest.key,
            "guidance_scale": self.config.guidance_scale,
            "sampling_steps": self.config.sampling_steps,
            "nearest_sample_id": nearest_id,
            "nearest_distance": float(distance),
            "real_nearest_distance": self.threshold,
        }
