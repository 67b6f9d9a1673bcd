"""Every usable image as a vector of a network, and as a thumbnail that says whether two vectors mean one picture."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from PIL import Image

from dermray import storage
from dermray.datasets.assignment import NAME
from dermray.datasets.decode import decode
from dermray.datasets.embedding_settings import EmbeddingSearch
from dermray.exactly_once import hashes, joined
from dermray.features.extractor import open_extractor

COLUMNS = ["name", "extractor", "vector", "thumbnail"]
AT_ONCE = 32  # images decoded
THUMBNAIL = 16  # px a side


def embed_all(raw: str, target: str, search: EmbeddingSearch) -> None:
    """Parquet of COLUMNS below `target`, a row for each usable one below `raw`. `name` is the hash of the row's."""
    import ray.data

    storage.make_directory(target)
    system, path = storage.filesystem(raw)
    rows = ray.data.read_parquet(path, filesystem=system, columns=[*NAME, "status", "image"])
    made = rows.map_batches(
        _Embed,
        fn_constructor_args=[search],
        batch_format="pyarrow",
        batch_size=AT_ONCE,
        zero_copy_batch=True,
        compute=ray.data.ActorPoolStrategy(size=search.actors),
        num_cpus=search.cpus_per_actor,
        num_gpus=search.gpus_per_actor,
    )
    to_system, to_path = storage.filesystem(target)
    made.write_parquet(to_path, filesystem=to_system)


def features_of(extractor: Any, image: Image.Image) -> np.ndarray:
    """(D,) float16 of length 1. Images go through the network one by one: each has a size of its own."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return torch.nn.functional.normalize(extractor(pixels[None]))[0].numpy().astype(np.float16)


def thumbnail(image: Image.Image) -> bytes:
    """(3, THUMBNAIL, THUMBNAIL) uint8."""
    small = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return np.asarray(small).transpose(2, 0, 1).tobytes()


class _Embed:
    def __init__(self, search: EmbeddingSearch) -> None:
        self.extractor: Any = open_extractor(search.extractor, "cuda" if search.gpus_per_actor else "cpu")

    def __call__(self, table: pa.Table) -> pa.Table:
        table = table.filter(pc.equal(table["status"], "ok"))
        images = [decode(data.as_py()) for data in table["image"]]
        columns = [
            pa.array(hashes(joined(table, NAME)) if images else [], pa.uint64()),
            pa.array([self.extractor.hash] * len(images), pa.string()),
            pa.array([features_of(self.extractor, image).tobytes() for image in images], pa.binary()),
            pa.array([thumbnail(image) for image in images], pa.binary()),
        ]
        return pa.table(columns, names=COLUMNS)
