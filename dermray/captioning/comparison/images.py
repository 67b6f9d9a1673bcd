"""Which images captioners are compared on: as many of each stratum as there are, no two of one lesion.

They are drawn by hashes of the seed and the lesion, so the same rows give the same images however they lie in files.
Of the rows a few candidates a stratum are kept.
"""

import hashlib
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dermray import manifest, storage
from dermray.captioning.comparison.settings import CompareConfig
from dermray.columns import batches
from dermray.config import Config
from dermray.manifest import Result, Rows
from dermray.page_index import write_options
from dermray.picked import pick, with_images
from dermray.records import IMAGES
from dermray.row_files import RowFiles

SPARE = 256  # candidates of a stratum more than are wanted, before the last are let go


class Chosen(Config):
    """What decides the choice."""

    output: str
    images: int
    stratify_by: list[str]
    seed: int


class Candidate(NamedTuple):
    """An image that may be shown; in order of `drawn`."""

    drawn: str  # hash of the seed and the lesion
    sample_id: str


def chosen(config: CompareConfig) -> Result:
    """The images, as a result of the ingest stage, which `caption` reads as any other.

    Raises:
        FileNotFoundError, ValueError: no such result; fewer images than are wanted.
    """
    source = manifest.read(config.rows, "ingest")
    settings = Chosen(
        output=config.chosen, images=config.images, stratify_by=config.stratify_by, seed=config.seed
    )  # fmt: skip
    with manifest.work("ingest", config.chosen, settings, {"rows": source}) as work:
        if work.finished:
            return work.finished
        ids = draw(source.row_files(), settings)
        if len(ids) < config.images:
            raise ValueError(
                f"images={config.images}: rows={config.rows} has {len(ids)} usable images of different lesions; give "
                "fewer, or other rows"
            )
        wanted = (pc.field("status") == "ok") & pc.field("sample_id").isin(pa.array(sorted(ids), pa.string()))
        columns = [name for name in IMAGES.names if name != "image"]
        table = with_images(pick(source.row_files(), columns, wanted)).select(IMAGES.names).cast(IMAGES)
        _write(table, storage.join(work.data, "rows"))
        return work.commit(Rows(rows_in=len(ids), ok=len(ids), rejected=0, failed=0), len(ids))


def draw(rows: RowFiles, config: Chosen) -> set[str]:
    """Ids of at most `images` rows, taken from the strata in turn."""
    strata = _candidates(rows, config)
    ids, lesions = set[str](), set[str]()
    turns = [iter(candidates) for _, candidates in sorted(strata.items())]
    while turns and len(ids) < config.images:
        for turn in list(turns):
            # a lesion may lie in several strata, as where a patient's images are of several modalities
            one = next((candidate for candidate in turn if candidate.drawn not in lesions), None)
            if one is None:
                turns.remove(turn)
            elif len(ids) < config.images:
                ids.add(one.sample_id)
                lesions.add(one.drawn)
    return ids


def _candidates(rows: RowFiles, config: Chosen) -> dict[str, list[Candidate]]:
    """Of each stratum the lesions that are drawn first, each with one image. As many as all strata may take from it:
    one that another stratum took first must leave enough."""
    kept: dict[str, dict[str, str]] = {}
    columns = list(dict.fromkeys(["sample_id", "leak_group", "status", *config.stratify_by]))
    for batch in batches(rows, columns, pc.field("status") == "ok"):
        for row in batch.to_pylist():
            stratum = kept.setdefault(str([row[name] for name in config.stratify_by]), {})
            drawn = _hashed(config.seed, row["leak_group"] or row["sample_id"])
            stratum[drawn] = min(stratum.get(drawn, row["sample_id"]), row["sample_id"])
            if len(stratum) > config.images + SPARE:
                for late in sorted(stratum)[config.images :]:
                    del stratum[late]
    return {name: [Candidate(*one) for one in sorted(found.items())] for name, found in kept.items()}


def _hashed(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()


def _write(table: pa.Table, directory: str) -> None:
    storage.make_directory(directory)
    system, path = storage.filesystem(storage.join(directory, "images.parquet"))
    options: dict[str, Any] = write_options(IMAGES)
    with pq.ParquetWriter(path, IMAGES, filesystem=system, **options) as writer:
        writer.write_table(table)
