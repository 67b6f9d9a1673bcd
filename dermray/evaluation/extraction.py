"""Features of all compared images, through Ray Data: into files, so that no distance holds more than blocks of them.

A killed evaluation goes on with the images that have none yet. A file's row:
    status, reason          failed where an image cannot be decoded
    key                     64 bits of a hash of the row's id: its place in "the first N by id"
    part                    one of 2 x PARTS random parts; rows of a leak group share theirs
    entity, label, ...      its groups, null where unknown
    features_0, logits_0    of the first extractor; logits where it has any
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from dermray import storage
from dermray.captioning.resume import resumable
from dermray.datasets.decode import BadImage, decode, square
from dermray.evaluation.groups import columns_of, names
from dermray.evaluation.judged import load
from dermray.evaluation.settings import Attribute, EvaluationConfig, Real
from dermray.features.extractor import Extractor, open_extractor
from dermray.features.judge import extractor_of
from dermray.features.settings import ExtractorConfig
from dermray.manifest import Result
from dermray.records import count_rows

PARTS = 10  # random groups of each half that the jackknife leaves out in turn
AT_ONCE = 64  # images decoded and shown to a network together


@dataclass(frozen=True)
class Networks:
    """The extractors of an evaluation, to be opened where they are used."""

    configs: tuple[ExtractorConfig, ...]
    judge: str  # URI of the judge's file

    def open(self, device: str) -> list[Extractor]:
        """All of them."""
        return [self._one(config, device) for config in self.configs]

    def _one(self, config: ExtractorConfig, device: str) -> Extractor:
        if config.kind != "judge":
            return open_extractor(config, device)
        return extractor_of(load(self.judge), device)


@dataclass(frozen=True)
class Images:
    """Which rows, and by which column they are known."""

    source: Result
    id_column: str  # unique: two equal synthetic images have one sample_id
    wanted: Any  # pyarrow expression over `columns` and status
    columns: tuple[str, ...] = ()

    @classmethod
    def real(cls, rows: Result, which: Real) -> "Images":
        """Of an ingest's or caption's result."""
        return cls(rows, "sample_id", where_real(which), ("origin", "split", "leak_group"))

    @classmethod
    def synthetic(cls, rows: Result) -> "Images":
        """Of a generate's result."""
        return cls(rows, "plan_id", pc.field("status") == "ok")


def where_real(which: Real) -> Any:
    """Filter of the real rows that are compared."""
    usable = (pc.field("status") == "ok") & (pc.field("origin") == "real")
    if which == "all":
        return usable
    return usable & (pc.field("split") == "train" if which == "train" else pc.field("split") != "train")


def extract(images: Images, networks: Networks, size: int, target: str, config: EvaluationConfig) -> None:
    """Every wanted image's features into files below `target`/rows; what lies there is not computed again.

    Args:
        size: px, of the squares that all images are brought to.
    """
    import ray.data

    system, path = storage.filesystem(storage.join(target, "rows"))
    columns = [images.id_column, "sample_id", "status", "image", *images.columns, *columns_of(config.groups)]
    with resumable(images.id_column, storage.join(target, "checkpoint")):
        rows = images.source.row_files().read_in_ray(list(dict.fromkeys(columns)), images.wanted)
        rows.repartition(target_num_rows_per_block=config.batch_size).map_batches(
            Embed,
            fn_constructor_args=[networks, size, images.id_column, config.groups, config.gpus_per_actor > 0],
            batch_format="pyarrow",
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=config.actors),
            num_cpus=config.cpus_per_actor,
            num_gpus=config.gpus_per_actor,
        ).write_parquet(path, filesystem=system, mode="append", use_dictionary=False)


class Embed:
    """An actor that holds the extractors."""

    def __init__(
        self, networks: Networks, size: int, id_column: str, attributes: Sequence[Attribute], on_gpu: bool
    ) -> None:
        self.networks, self.size = networks.open("cuda" if on_gpu else "cpu"), size
        self.id_column, self.attributes = id_column, attributes

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Rows as the module's docstring has them."""
        shown, reasons = _decoded(rows["image"].to_pylist(), self.size)
        ids = rows[self.id_column].to_pylist()
        together = rows["leak_group"].to_pylist() if "leak_group" in rows.column_names else ids
        columns: dict[str, Any] = {
            self.id_column: rows[self.id_column],
            "status": pa.array(["failed" if reason else "ok" for reason in reasons], pa.string()),
            "reason": pa.array(reasons, pa.string()),
            "key": pa.array([key(name) for name in ids], pa.uint64()),
            "part": pa.array([part(group or name) for group, name in zip(together, ids, strict=True)], pa.uint8()),
        }
        columns |= {name: pa.array(names(rows, name), pa.string()) for name in self.attributes}
        for number, network in enumerate(self.networks):
            features, logits = _seen(network, shown)
            columns[f"features_{number}"] = vectors(features)
            if logits is not None:
                columns[f"logits_{number}"] = vectors(logits)
        return pa.table(columns)


def _decoded(encoded: list[bytes], size: int) -> tuple[np.ndarray, list[str | None]]:
    """(N, 3, S, S) uint8, and why one is none."""
    shown, reasons = np.zeros((len(encoded), 3, size, size), np.uint8), list[str | None]()
    for place, image in enumerate(encoded):
        try:
            shown[place] = square(decode(image), size)
            reasons.append(None)
        except BadImage as bad:
            reasons.append(str(bad))
    return shown, reasons


def _seen(network: Extractor, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Features (N, D) and logits of (N, 3, S, S) images; of none it takes a black one to know their widths."""
    some = torch.from_numpy(shown if len(shown) else np.zeros((1, *shown.shape[1:]), np.uint8))
    found = [network.both(images) for images in some.split(AT_ONCE)]
    features, logits = (
        None if values[0] is None else torch.cat(values)[: len(shown)].numpy() for values in zip(*found, strict=True)
    )
    assert features is not None
    return features, logits


def vectors(values: np.ndarray) -> pa.FixedSizeListArray:
    """(N, D) float32 as an Arrow column."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).reshape(-1)), values.shape[1])


def key(name: str) -> int:
    """64 bits of an id's hash."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def part(name: str) -> int:
    """0 to 2 PARTS - 1: the first PARTS are one half."""
    return int.from_bytes(hashlib.sha256(b"part " + name.encode()).digest()[:8], "big") % (2 * PARTS)


def wanted(images: Images) -> int:
    """How many rows they are."""
    return count_rows(images.source.row_files(), images.wanted)
