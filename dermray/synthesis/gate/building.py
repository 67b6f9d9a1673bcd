"""The index, made of the training images by a task for each shard, and one that puts their parts together."""

import hashlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import pyarrow.feather as feather
import torch
from torch import Tensor

from dermray import node_cache, storage
from dermray.features.extractor import open_extractor
from dermray.features.settings import ExtractorConfig
from dermray.manifest import Result
from dermray.synthesis.gate import network
from dermray.synthesis.gate.gate import NETWORK, embedded
from dermray.synthesis.gate.index import ABOUT, VERSION, About, clustered, empty_index, read_about
from dermray.synthesis.gate.projection import Projection
from dermray.synthesis.gate.settings import GateConfig
from dermray.synthesis.gate.thumbnails import close_ups, described, orientations, thumbnails
from dermray.training.batches import EncodedImages, directories, pixels_of
from dermray.training.encode import read_index
from dermray.training.run import image_size

LEARNED_FROM = 4096  # images, by the copy network and the projections
AT_A_TIME = 64  # images of a shard
BLOCKS = "blocks"
CLUSTERED_BY = 20  # images for each cluster, of which its centre is the mean


class Shard(NamedTuple):
    """A file of training images, and their side in px."""

    uri: str
    size: int | str  # or WIDTHxHEIGHT


def shards_of(generator: Result) -> list[Shard]:
    """All training images of a generator, as its training decoded them."""
    return [
        Shard(storage.join(directory, name), index["image_size"])
        for directory in directories(storage.join(generator.data, "encoded"))
        for index in [read_index(directory)]
        for name in index["shards"]
    ]


def training_images(generator: Result) -> str:
    """A hash of what a generator learned from and of the side of what it draws: those with one hash have one gate."""
    names = [(shard.uri.rsplit("/", 1)[-1], shard.size) for shard in shards_of(generator)]  # a name is a hash of images
    return hashlib.sha256(json.dumps([image_size(generator), names]).encode()).hexdigest()[:20]


def learn(generator: Result, target: str, steps: int, seed: int) -> None:
    """The copy network, trained on some of the training images, into a file of the index."""
    images = list[Tensor]()
    for directory in directories(storage.join(generator.data, "encoded")):
        bucket, left = EncodedImages(directory), LEARNED_FROM - sum(map(len, images))
        images += [network.seen_bytes(_square(bucket.pixels(part))) for part in _first(len(bucket), left)]
    learned = network.fit(torch.cat(images), steps, seed)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, NETWORK)
        network.save(learned, file)
        storage.write_bytes(storage.join(target, NETWORK), file.read_bytes())


def _square(images: Tensor) -> Tensor:
    """The middle of images that kept their shape: what is drawn is square."""
    side = min(images.shape[2:])
    top, left = ((length - side) // 2 for length in images.shape[2:])
    return images[:, :, top : top + side, left : left + side]


def _first(count: int, most: int) -> list[np.ndarray]:
    chosen = np.unique(np.linspace(0, count - 1, max(0, min(count, most))).astype(np.int64))
    return [part for part in np.array_split(chosen, max(1, len(chosen) // AT_A_TIME)) if len(part)]


def described_shard(
    shard: Shard, number: int, target: str, config: ExtractorConfig, device: str = "cpu"
) -> tuple[int, str]:
    """Thumbnails, embeddings and ids of a shard into a file; how many, and the hash of the embedding network."""
    if config.kind == "judge":
        extractor: Any = network.load(node_cache.local_file(storage.join(target, NETWORK))).to(device)
    else:
        extractor = open_extractor(config, device)
    with node_cache.in_use(shard.uri) as file:
        rows = feather.read_table(file, ["sample_id", "pixels"], memory_map=True)
        thumbs, vectors = list[np.ndarray](), list[np.ndarray]()
        for start in range(0, len(rows), AT_A_TIME):
            images = _square(pixels_of(rows["pixels"].slice(start, AT_A_TIME).to_pylist(), shard.size))
            thumbs.append(thumbnails(images).numpy())
            vectors += [embedded(extractor, image) for image in images]
        ids = np.array([name.encode() for name in rows["sample_id"].to_pylist()])
    sink = io.BytesIO()
    np.savez(sink, thumbnails=np.concatenate(thumbs), embeddings=np.stack(vectors).astype(np.float16), ids=ids)
    storage.write_bytes(storage.join(target, BLOCKS, f"{number:06d}.npz"), sink.getvalue())
    return len(rows), str(extractor.hash)


def joined(target: str, about: About) -> None:
    """The index out of its parts. One part is held at a time, and the codes of all."""
    files = storage.list_files(storage.join(target, BLOCKS), ".npz")
    sample = _sample(files, max(LEARNED_FROM, CLUSTERED_BY * clustered(2 * about.images)))
    turned = torch.cat(orientations(torch.from_numpy(sample["thumbnails"][:LEARNED_FROM])))
    of_pixels = Projection.fitted(described(turned))
    of_embeddings = Projection.fitted(sample["embeddings"].astype(np.float32))
    indices = (
        empty_index(2 * about.images, _pixel_codes(of_pixels, sample["thumbnails"])),
        empty_index(about.images, of_embeddings(sample["embeddings"].astype(np.float32))),
    )
    with tempfile.TemporaryDirectory() as folder:
        arrays = {name: _array(Path(folder, f"{name}.npy"), about.images, values) for name, values in sample.items()}
        end = 0
        for file in files:
            part = _part(file)
            for name, values in part.items():
                arrays[name][end : end + len(values)] = values
            end += len(part["ids"])
            indices[0].add(_pixel_codes(of_pixels, part["thumbnails"]))
            indices[1].add(of_embeddings(part["embeddings"].astype(np.float32)))
        for array in arrays.values():
            array.flush()
        for name, index in zip(("pixels", "embeddings"), indices, strict=True):
            faiss.write_index(index, str(Path(folder, f"{name}.faiss")))
        np.savez(
            Path(folder, "projections.npz"),
            pixel_mean=of_pixels.mean, pixel_basis=of_pixels.basis,
            embedding_mean=of_embeddings.mean, embedding_basis=of_embeddings.basis,
        )  # fmt: skip
        storage.copy_directory(folder, target)
    storage.write_bytes(storage.join(target, ABOUT), about.model_dump_json(indent=1).encode())
    storage.delete_tree(storage.join(target, BLOCKS))


def _array(file: Path, count: int, like: np.ndarray) -> Any:
    """An array of so many rows, in a file."""
    return np.lib.format.open_memmap(file, "w+", like.dtype, (count, *like.shape[1:]))


def _pixel_codes(projection: Projection, thumbs: np.ndarray) -> np.ndarray:
    """(2 N, d): of each image and of its middle."""
    images = torch.from_numpy(thumbs)
    both = np.stack([projection(described(images)), projection(described(close_ups(images)))], 1)
    return np.ascontiguousarray(both.reshape(2 * len(thumbs), -1))


def _part(file: str) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(storage.read_bytes(file))) as saved:
        return dict(saved)


def _sample(files: list[str], most: int) -> dict[str, np.ndarray]:
    """About so many images of all parts, which projections and clusters are fitted to; ids have the longest's type."""
    chosen, each = list[dict[str, np.ndarray]](), max(1, most // len(files))
    for file in files:
        part = _part(file)
        some = np.unique(np.linspace(0, len(part["ids"]) - 1, each).astype(np.int64))
        chosen.append({name: values[some] for name, values in part.items()})
    return {name: np.concatenate([part[name] for part in chosen]) for name in chosen[0]}


def build(generator: Result, target: str, config: GateConfig, seed: int, resources: dict[str, float]) -> About:
    """The index of a generator's training images below `target`. Done once: one that is there is the answer.

    Args:
        resources: of each task, Ray's num_cpus and num_gpus.
    """
    import ray

    if storage.exists(storage.join(target, ABOUT)):
        return read_about(target)
    if config.extractor.kind == "judge" and not storage.exists(storage.join(target, NETWORK)):
        ray.get(ray.remote(learn).remote(generator, target, config.training_steps, seed))
    storage.delete_tree(storage.join(target, BLOCKS))
    task = ray.remote(described_shard).options(**resources)
    device = "cuda" if resources.get("num_gpus") else "cpu"
    shards = enumerate(shards_of(generator))
    parts = ray.get([task.remote(shard, number, target, config.extractor, device) for number, shard in shards])
    [made_with] = {hashed for _, hashed in parts}
    name = network.CopyNetwork.name if config.extractor.kind == "judge" else config.extractor.kind
    about = About(
        version=VERSION,
        generator=generator.manifest.key,
        training_images=training_images(generator),
        images=sum(count for count, _ in parts),
        extractor=config.extractor.model_dump(mode="json"),
        extractor_name=name if config.extractor.name is None else f"{name} {config.extractor.name}",
        extractor_hash=made_with,
    )
    ray.get(ray.remote(joined).remote(target, about))
    return about
