"""Encode once: what a family's frozen parts make of every image and caption, in Ray Data, before training.

One Arrow file per shard of training.encode: (sample_id, encoded), where `encoded` is a Sample as safetensors, so that
latents and text of an image are one value that no shuffle can part. A file's name is a hash of the shard's name (which
is one of its content), the family and what it encodes with: a file that is there is right, whoever wrote it, and is not
made again. Captions that are large when they are encoded (`texts_apart`) have files of their own, and rows their names:
see caption_cache. The few texts that training needs beside its samples are encoded too, so that it can do without
encoders. What an untouched base draws for training (DreamBooth's prior) is kept in the same way.
"""

import hashlib
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import torch
from safetensors.torch import load
from torch import Tensor

from dermray import node_cache, storage
from dermray.generators.base import Generator, Sample, Texts, family
from dermray.progress import Progress, actors_alive, watched
from dermray.training.batches import EncodedImages, all_captions, captions_for_words, directories, pixels_of
from dermray.training.caption_cache import CaptionCache, to_bytes
from dermray.training.encode import read_index

PROBED = 4  # images that the estimate is made from
BATCH = 16  # images encoded at a time


class Cost(NamedTuple):
    """So many things to encode, and what one of them takes."""

    number: int
    bytes: float
    seconds: float


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
        name = lambda content: self.name(content) + ".arrow"  # noqa: E731
        shards = [read_index(directory)["shards"] for directory in self.directories()]
        return [[name(shard) for shard in bucket] for bucket in shards], name(json.dumps(self.texts))

    def name(self, content: str) -> str:
        """A hash of `content` and of all that it is encoded with."""
        return hashlib.sha256((self._shared + content).encode()).hexdigest()[:20]

    @cached_property
    def _shared(self) -> str:
        cls = family(self.family)
        by: list[Any] = [self.family, cls.encoded_by(cls.Config(**self.model)), self._words()]
        return json.dumps(by + ["captions apart"] * cls.texts_apart, sort_keys=True)

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
        probed: tuple[list[Cost], Cost] = ray.get(ray.remote(_first).options(**resources).remote(encoder, texts))
    if missing:
        print(estimate(*probed, epochs, None if storage.is_s3(cache) else shutil.disk_usage(cache).free), flush=True)
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
    storage.write_bytes(file, to_bytes(encoder.build().draw_prior()))


def _how_far(cache: str, wanted: set[str]) -> Progress:
    """Of the shards that were missing; the cache has those of other runs too."""
    there = {file.rpartition("/")[2] for file in storage.list_files(cache, ".arrow", below=False)}
    return Progress(len(wanted & there), len(wanted), "shards encoded", engines=actors_alive(("_Encode",)))


def estimate(probed: list[Cost], captions: Cost, epochs: float, free: float | None = None) -> str:
    """What encoding once costs and saves, in words.

    Args:
        probed: of each bucket, with its images. captions: that are encoded apart. free: bytes where they are stored.
    """
    images = sum(rows for rows, _, _ in probed)
    size = sum(rows * each for rows, each, _ in [*probed, captions])
    hours = sum(rows * seconds for rows, _, seconds in [*probed, captions]) / 3600
    each_time = sum(rows * (seconds + captions.seconds) for rows, _, seconds in probed) / 3600
    apart = f" and {captions.number} different captions" if captions.number else ""
    room = f", where {_said(free)} are free: give another `cache`" if free is not None and free < size else ""
    best = "encoding once" if each_time * epochs > hours else "encoding in training (encode_ahead=false)"
    return (
        f"      {images} images{apart} to encode: about {_said(size)} to store{room}, {hours:.2g} worker hours "
        f"once; in training it would be {each_time * epochs:.2g} ({epochs:.2g} epochs): {best} is cheaper"
    )


def _said(size: float) -> str:
    return f"{size / 1e12:.3g} TB" if size >= 1e12 else f"{size / 1e9:.3g} GB"


def read_texts(file: str) -> Texts:
    """What `precompute` wrote of the texts."""
    table = feather.read_table(node_cache.local_file(file), memory_map=True)
    return {text: load(data) for text, data in zip(*(column.to_pylist() for column in table), strict=True)}


def _first(encoder: Encoder, texts: str) -> tuple[list[Cost], Cost]:
    """Encode the texts; then find out what a few images of each bucket cost, and a few captions that lie apart."""
    generator, probed = encoder.build(), []
    _write(texts, iter([_encoded(pa.table({"text": encoder.texts}), generator.encode_texts(encoder.texts))]))
    for directory, rows in (bucket for encoded in encoder.encoded for bucket in directories(encoded).items()):
        images = EncodedImages(directory, shards=1)
        few = np.arange(min(PROBED, len(images)))
        if generator.texts_apart:
            pixels = images.pixels(few).to(next(generator.parameters()).device)
            probed.append(_cost(rows, partial(generator.encode_images, pixels)))
        else:
            probed.append(_cost(rows, partial(images.read(few).samples, generator, False)))
    return probed, _cost_of_captions(encoder, generator)


def _cost_of_captions(encoder: Encoder, generator: Generator) -> Cost:
    """Of those that differ; of a caption 8 bytes are held."""
    if not generator.texts_apart:
        return Cost(0, 0, 0)
    hashes, few = np.zeros(0, np.int64), list[str]()
    for encoded in encoder.encoded:
        for captions in all_captions(encoded):
            few = few or captions[:PROBED]
            hashes = np.union1d(hashes, np.array(list(map(hash, captions)), np.int64))
    return _cost(len(hashes), partial(generator.encode_texts, few))


def _cost(number: int, encode: Callable[[], list[Sample]]) -> Cost:
    encode()  # the first call warms up
    started = time.perf_counter()
    samples = encode()
    seconds = time.perf_counter() - started
    return Cost(number, sum(len(to_bytes(sample)) for sample in samples) / len(samples), seconds / len(samples))


class _Encode:
    """An actor that holds the frozen parts."""

    def __init__(self, encoder: Encoder, cache: str) -> None:
        self.encoder, self.cache, self.generator = encoder, cache, encoder.build()
        self.captions = CaptionCache(cache)
        self.device = next(self.generator.parameters()).device

    def __call__(self, row: dict[str, Any]) -> dict[str, int]:
        """Encode one shard, in the order of its rows."""
        with node_cache.read_once(storage.join(row["directory"], row["shard"])) as file:
            shard = feather.read_table(file, memory_map=True)
            size = read_index(row["directory"])["image_size"]
            _write(storage.join(self.cache, row["file"]), self._parts(shard, size))
        return {"rows": len(shard)}

    def _parts(self, shard: pa.Table, size: int | str) -> Iterator[pa.Table]:
        for start in range(0, len(shard), BATCH):
            part = shard.slice(start, BATCH)
            pixels = pixels_of(part["pixels"].to_pylist(), size).to(self.device)
            keys, captions = part.select(["sample_id"]), part["caption"].to_pylist()
            more = part["more"].to_pylist() if "more" in part.column_names else None
            if self.generator.texts_apart:
                keys = keys.append_column("caption", pa.array(self._encoded_apart(captions)))
                if more is not None:
                    names = [self._encoded_apart(texts) for texts in more]
                    keys = keys.append_column("more", pa.array(names, pa.list_(pa.string())))
                yield _encoded(keys, self.generator.encode_images(pixels))
            else:
                if more is not None:
                    samples = [self._with_each(pixels[i], texts) for i, texts in enumerate(more)]
                    keys = keys.append_column("more", pa.array(samples, pa.list_(pa.large_binary())))
                yield _encoded(keys, self.generator.encode(pixels, captions))

    def _with_each(self, image: Tensor, captions: list[str]) -> list[bytes]:
        """One image with each of these captions."""
        return [to_bytes(self.generator.encode(image[None], [caption])[0]) for caption in captions]

    def _encoded_apart(self, captions: list[str]) -> list[str]:
        """Names under which the captions are kept. Before the images of their shard: a shard that is there has all."""
        names = [self.encoder.name(caption) for caption in captions]
        by_name, missing = dict(zip(names, captions, strict=True)), self.captions.missing(names)
        if missing:
            samples = self.generator.encode_texts([by_name[name] for name in missing])
            self.captions.write(dict(zip(missing, samples, strict=True)))
        return names


def _encoded(keys: pa.Table, samples: list[Sample]) -> pa.Table:
    """The keys' column and `encoded`."""
    return keys.append_column("encoded", pa.array(map(to_bytes, samples), pa.large_binary()))


def _write(file: str, parts: Iterator[pa.Table]) -> None:
    """One Arrow file; its bytes are held once."""
    first, sink = next(parts), pa.BufferOutputStream()
    with pa.ipc.new_file(sink, first.schema) as writer:
        for part in itertools.chain([first], parts):
            writer.write_table(part)
    storage.write_bytes(file, memoryview(sink.getvalue()))
