"""Encode once: what a family's frozen parts make of every image and caption, in Ray Data, before training.

One Arrow file per shard of training.encode: (sample_id, encoded), where `encoded` is a Sample as safetensors, so that
latents and text of an image are one value that no shuffle can part. A file's name is a hash of the shard, its captions
and size, the family and what it encodes with: a file that is there is right, whoever wrote it, and is not made again.
"""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import torch
from safetensors.torch import load, save

from dermray import storage
from dermray.generators.base import Generator, Sample, family
from dermray.training.batches import EncodedImages, buckets, captions_for_words, pixels_of

PROBED = 4  # images that the estimate is made from
BATCH = 16  # images encoded at a time


@dataclass(frozen=True)
class Encoder:
    """Which generator encodes, and which images. It travels to Ray workers."""

    family: str
    model: dict[str, Any]
    encoded: str  # target of training.encode

    def build(self) -> Generator:
        """The generator's frozen parts as training builds them, on a GPU where there is one."""
        cls = family(self.family)
        made = cls.encoder(cls.Config(**self.model), captions_for_words(buckets(self.encoded)))
        return made.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    def files(self) -> list[list[str]]:
        """Names of the files that hold the shards of each bucket, encoded."""
        cls, found = family(self.family), buckets(self.encoded)
        by = cls.encoded_by(cls.Config(**self.model)) or {}
        words = captions_for_words(found) if by.get("base") == "nano" else None  # its tokenizer is made from them
        return [
            _names(images, json.dumps([self.family, by, images.image_size, words], sort_keys=True)) for images in found
        ]


def _names(images: EncodedImages, shared: str) -> list[str]:
    names, start = [], 0
    for chunk in images.table["caption"].chunks:
        rows = images.table.slice(start, len(chunk)).select(["sample_id", "caption"]).to_pylist()
        start += len(chunk)
        names.append(hashlib.sha256((shared + json.dumps(rows)).encode()).hexdigest()[:20] + ".arrow")
    return names


def precompute(encoder: Encoder, cache: str, epochs: float, workers: int, gpus: float) -> list[list[str]]:
    """Encode all shards into `cache`, and name the files of each bucket in the order of its index.

    Args:
        epochs: how often training will see each image: printed beside the cost of encoding once.
    """
    import ray
    import ray.data

    names, shards = ray.get(ray.remote(_named).remote(encoder))
    missing = [
        {"bucket": bucket, "shard": shard, "file": name}
        for bucket in range(len(names))
        for shard, name in zip(shards[bucket], names[bucket], strict=True)
        if not storage.exists(storage.join(cache, name))
    ]
    if missing:
        probed = ray.get(ray.remote(_probe).options(num_gpus=gpus).remote(encoder))
        print(estimate(probed, epochs), flush=True)
        storage.make_directory(cache)
        pool = ray.data.ActorPoolStrategy(size=min(workers, len(missing)))
        todo = ray.data.from_items(missing, override_num_blocks=len(missing))
        todo.map(_Encode, fn_constructor_args=(encoder, cache), compute=pool, num_gpus=gpus).materialize()
    return [list(bucket) for bucket in names]


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


class EncodedSamples:
    """The files of `precompute`, mapped into memory, by the numbers of EncodedImages.

    Raises:
        ValueError: a file holds other images than its shard, or in another order.
    """

    def __init__(self, images: EncodedImages, cache: str, names: list[str]) -> None:
        local: list[Path] = [storage.local_file(storage.join(cache, name), storage.cache()) for name in names]
        table = pa.concat_tables([feather.read_table(file, memory_map=True) for file in local])
        if not table["sample_id"].equals(images.table["sample_id"]):
            raise ValueError(
                f"{cache}: encoded images are not those of the shards; remove this directory, it is a cache"
            )
        self._encoded, self._images = table["encoded"], images

    def samples(self, index: np.ndarray) -> list[Sample]:
        """Images `index`, encoded."""
        return [load(data) for data in self._encoded.take(pa.array(self._images.rows(index))).to_pylist()]


def _named(encoder: Encoder) -> tuple[list[list[str]], list[list[str]]]:
    return encoder.files(), [images.shards for images in buckets(encoder.encoded)]


def _probe(encoder: Encoder) -> list[tuple[int, float, float]]:
    """Images, and bytes and seconds an image over a few of them, of each bucket."""
    generator, probed = encoder.build(), []
    for images in buckets(encoder.encoded):
        few = np.arange(min(PROBED, len(images)))
        pixels, captions = images.pixels(few).to(next(generator.parameters()).device), images.captions(few)
        generator.encode(pixels, captions)  # the first call warms up
        started = time.perf_counter()
        samples = generator.encode(pixels, captions)
        seconds = (time.perf_counter() - started) / len(few)
        probed.append((len(images), sum(len(_bytes(sample)) for sample in samples) / len(few), seconds))
    return probed


class _Encode:
    """An actor that holds the frozen parts."""

    def __init__(self, encoder: Encoder, cache: str) -> None:
        self.encoder, self.cache = encoder, cache
        self.generator, self.buckets = encoder.build(), buckets(encoder.encoded)
        self.device = next(self.generator.parameters()).device

    def __call__(self, row: dict[str, Any]) -> dict[str, int]:
        """Encode one shard, in the order of its rows."""
        images = self.buckets[row["bucket"]]
        table, encoded = images.shard(row["shard"]), list[bytes]()
        for start in range(0, len(table), BATCH):
            part = table.slice(start, BATCH)
            pixels = pixels_of(part["pixels"], images.image_size).to(self.device)
            encoded += [_bytes(sample) for sample in self.generator.encode(pixels, part["caption"].to_pylist())]
        sink = pa.BufferOutputStream()
        made = pa.table({"sample_id": table["sample_id"], "encoded": pa.array(encoded, pa.large_binary())})
        feather.write_feather(made, sink, compression="uncompressed")
        storage.write_bytes(storage.join(self.cache, row["file"]), sink.getvalue().to_pybytes())
        return {"rows": len(table)}


def _bytes(sample: Sample) -> bytes:
    return bytes(save({name: value.contiguous().cpu() for name, value in sample.items()}))
