"""Encode once: what a family's frozen parts make of every image and caption, in Ray Data, before training.

One Arrow file per shard of training.encode: (sample_id, encoded), where `encoded` is a Sample as safetensors, so that
latents and text of an image are one value that no shuffle can part. A file's name is a hash of the shard's name (which
is one of its content), the family and what it encodes with: a file that is there is right, whoever wrote it, and is not
made again. The few texts that training needs beside its samples are encoded too, so that it can do without encoders.
What an untouched base draws for training (DreamBooth's prior) is kept in the same way.
"""

import hashlib
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import torch
from safetensors.torch import load, save

from dermray import node_cache, storage
from dermray.generators.base import Generator, Sample, Texts, family
from dermray.progress import Progress, actors_alive, watched
from dermray.training.batches import EncodedImages, captions_for_words, directories, pixels_of
from dermray.training.encode import read_index

PROBED = 4  # images that the estimate is made from
BATCH = 16  # images encoded at a time


@dataclass(frozen=True)
class Encoder:
    """Which generator encodes, and what. It travels to Ray workers."""

    family: str
    model: dict[str, Any]
    encoded: list[str]  # targets of training.encode; a new tokenizer has the words of the first
    texts: list[str] = field(default_factory=list)

    def build(self) -> Generator:
        """The generator's frozen parts as training builds them, on a GPU where there is one."""
        cls = family(self.family)
        made = cls.encoder(cls.Config(**self.model), self._words())
        return made.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    def directories(self) -> list[str]:
        """Of all buckets."""
        return [directory for encoded in self.encoded for directory in directories(encoded)]

    def files(self) -> tuple[list[list[str]], str]:
        """Names of the files that hold the shards of each bucket, encoded, and of that of the texts."""
        cls = family(self.family)
        shared = json.dumps([self.family, cls.encoded_by(cls.Config(**self.model)), self._words()], sort_keys=True)
        name = lambda content: hashlib.sha256((shared + content).encode()).hexdigest()[:20] + ".arrow"  # noqa: E731
        shards = [read_index(directory)["shards"] for directory in self.directories()]
        return [[name(shard) for shard in bucket] for bucket in shards], name(json.dumps(self.texts))

    def prior(self) -> str | None:
        """Name of the file that holds the family's prior; None where it has none."""
        cls = family(self.family)
        if (by := cls.prior_by(cls.Config(**self.model))) is None:
            return None
        content = json.dumps([self.family, by, self._words()], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:20] + ".safetensors"

    def _words(self) -> list[str]:
        cls = family(self.family)
        return captions_for_words(cls, cls.Config(**self.model), self.encoded[0])


def precompute(
    encoder: Encoder, cache: str, epochs: float, workers: tuple[int, int], resources: dict[str, float]
) -> tuple[list[list[str]], str]:
    """Encode all shards into `cache`.

    Args:
        epochs: how often training will see each image: printed beside the cost of encoding once. workers: the least
            and the most. resources: num_cpus and num_gpus of each.

    Returns:
        Names of the files of each bucket in the order of its index, and the path of the texts'.
    """
    import ray
    import ray.data

    files, texts = encoder.files()
    texts = storage.join(cache, texts)
    missing = [
        {"directory": directory, "shard": shard, "file": name}
        for directory, names in zip(encoder.directories(), files, strict=True)
        for shard, name in zip(read_index(directory)["shards"], names, strict=True)
        if not storage.exists(storage.join(cache, name))
    ]
    if missing or not storage.exists(texts):
        storage.make_directory(cache)
        probed = ray.get(ray.remote(_first).options(**resources).remote(encoder, texts))
    if missing:
        print(estimate(probed, epochs), flush=True)
        least, most = (min(count, len(missing)) for count in workers)
        pool = ray.data.ActorPoolStrategy(min_size=least, max_size=most)
        todo = ray.data.from_items(missing, override_num_blocks=len(missing))
        encoded = todo.map(_Encode, fn_constructor_args=(encoder, cache), compute=pool, **resources)
        with watched(partial(_how_far, cache, {row["file"] for row in missing})):
            encoded.materialize()
    return files, texts


def draw_prior(encoder: Encoder, cache: str, resources: dict[str, float]) -> str:
    """Have one process draw what training keeps of its untouched base, unless `cache` has it.

    Args:
        resources: num_cpus and num_gpus of it.

    Returns:
        The file's path; none where the family has no prior.
    """
    import ray

    if (name := encoder.prior()) is None:
        return ""
    file = storage.join(cache, name)
    if not storage.exists(file):
        print("      drawing the prior's images", flush=True)
        storage.make_directory(cache)
        ray.get(ray.remote(_draw).options(**resources).remote(encoder, file))
    return file


def read_prior(file: str) -> Sample:
    """What `draw_prior` wrote."""
    return load(node_cache.local_file(file).read_bytes())


def _draw(encoder: Encoder, file: str) -> None:
    storage.write_bytes(file, _bytes(encoder.build().draw_prior()))


def _how_far(cache: str, wanted: set[str]) -> Progress:
    """Of the shards that were missing; the cache has those of other runs too."""
    there = {file.rpartition("/")[2] for file in storage.list_files(cache, ".arrow")}
    return Progress(len(wanted & there), len(wanted), "shards encoded", engines=actors_alive(("_Encode",)))


def estimate(probed: list[tuple[int, float, float]], epochs: float) -> str:
    """What encoding once costs and saves, in words.

    Args:
        probed: of each bucket its images, and bytes and seconds an image.
    """
    images = sum(rows for rows, _, _ in probed)
    size = sum(rows * each for rows, each, _ in probed)
    hours = sum(rows * seconds for rows, _, seconds in probed) / 3600
    cheaper = "encoding once is cheaper" if epochs > 1 else "encoding in training (encode_ahead=false) is cheaper"
    return (
        f"      {images} images to encode: about {size / 1e9:.3g} GB to store, {hours:.2g} worker hours once; in "
        f"training it would be {hours * epochs:.2g} ({epochs:.2g} epochs): {cheaper}"
    )


def read_texts(file: str) -> Texts:
    """What `precompute` wrote of the texts."""
    table = feather.read_table(node_cache.local_file(file), memory_map=True)
    return {text: load(data) for text, data in zip(*(column.to_pylist() for column in table), strict=True)}


def _first(encoder: Encoder, texts: str) -> list[tuple[int, float, float]]:
    """Encode the texts; then of each bucket its images, and bytes and seconds an image over a few of them."""
    generator, probed = encoder.build(), []
    _write(texts, iter([_encoded(pa.table({"text": encoder.texts}), generator.encode_texts(encoder.texts))]))
    for directory, rows in (bucket for encoded in encoder.encoded for bucket in directories(encoded).items()):
        images = EncodedImages(directory, shards=1)
        few = np.arange(min(PROBED, len(images)))
        images.samples(generator, few, False)  # the first call warms up
        started = time.perf_counter()
        samples = images.samples(generator, few, False)
        seconds = (time.perf_counter() - started) / len(few)
        probed.append((rows, sum(len(_bytes(sample)) for sample in samples) / len(few), seconds))
    return probed


class _Encode:
    """An actor that holds the frozen parts."""

    def __init__(self, encoder: Encoder, cache: str) -> None:
        self.cache, self.generator = cache, encoder.build()
        self.device = next(self.generator.parameters()).device

    def __call__(self, row: dict[str, Any]) -> dict[str, int]:
        """Encode one shard, in the order of its rows."""
        with node_cache.read_once(storage.join(row["directory"], row["shard"])) as file:
            shard = feather.read_table(file, memory_map=True)
            size = read_index(row["directory"])["image_size"]
            _write(storage.join(self.cache, row["file"]), self._parts(shard, size))
        return {"rows": len(shard)}

    def _parts(self, shard: pa.Table, size: int) -> Iterator[pa.Table]:
        for start in range(0, len(shard), BATCH):
            part = shard.slice(start, BATCH)
            pixels = pixels_of(part["pixels"].to_pylist(), size).to(self.device)
            yield _encoded(part.select(["sample_id"]), self.generator.encode(pixels, part["caption"].to_pylist()))


def _encoded(keys: pa.Table, samples: list[Sample]) -> pa.Table:
    """The keys' column and `encoded`."""
    return keys.append_column("encoded", pa.array(map(_bytes, samples), pa.large_binary()))


def _write(file: str, parts: Iterator[pa.Table]) -> None:
    """One Arrow file; its bytes are held once."""
    first, sink = next(parts), pa.BufferOutputStream()
    with pa.ipc.new_file(sink, first.schema) as writer:
        for part in itertools.chain([first], parts):
            writer.write_table(part)
    storage.write_bytes(file, memoryview(sink.getvalue()))


def _bytes(sample: Sample) -> bytes:
    return bytes(save({name: value.contiguous().cpu() for name, value in sample.items()}))
