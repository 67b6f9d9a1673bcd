"""Decode and resize every training image once, in Ray Data, into shards that workers map into memory.

A shard is an uncompressed Arrow file of (sample_id, pixels, caption), so a picture never parts from its caption; its
name is a hash of what it holds. Images of one size lie in one directory, a bucket, whose `index.json` lists its shards;
the `index.json` above them is written last and lists the buckets.
"""

import hashlib
import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather

from dermray import storage
from dermray.datasets.decode import decode, square
from dermray.picked import pick, with_images
from dermray.progress import files_written, watched
from dermray.row_files import RowFiles, row_files

INDEX = "index.json"


def encode(
    rows: str | RowFiles,
    target: str,
    sizes: list[int],
    split: str = "train",
    most: int | None = None,
    rows_per_shard: int = 2048,
) -> dict[int, int]:
    """Captioned rows of a split at `rows` to shards in `target`/SIZE. Done once: an index found is the answer.

    Args:
        sizes: px. An image goes to the largest that its shorter side fills, to the smallest if it fills none.
        most: rows, if not all: those with the least ids, which are hashes.

    Returns:
        Images by size, for sizes that have any.

    Raises:
        ValueError: no such row.
    """
    index = storage.join(target, INDEX)
    if storage.exists(index):
        return {int(size): rows for size, rows in json.loads(storage.read_bytes(index)).items()}
    import ray.data
    from ray.data.expressions import col

    storage.delete_tree(target)
    storage.make_directory(target)
    columns = ["sample_id", "caption", "split", "status"]
    if most is None:
        data = (
            row_files(rows).in_ray([*columns, "image"]).filter(expr=(col("status") == "ok") & (col("split") == split))
        )
    else:
        data = ray.data.from_arrow(_first(rows, columns, split, most))
    shards = data.repartition(target_num_rows_per_block=rows_per_shard).map_batches(
        _Shards(target, sorted(sizes), split), batch_format="pyarrow", batch_size=None
    )
    with watched(files_written(target, ".arrow", "shards written")):
        listed = sorted(shards.take_all(), key=lambda shard: str(shard["file"]))  # one line a shard
    if not listed:
        raise ValueError(
            f"{rows}: no captioned row in the {split} split; check the split and the caption stage's counts"
        )
    found: dict[int, int] = {}
    for size in sorted({shard["size"] for shard in listed}):
        mine = [shard for shard in listed if shard["size"] == size]
        found[size] = sum(shard["rows"] for shard in mine)
        write_index(storage.join(target, str(size)), size, [shard["file"] for shard in mine])
    storage.write_bytes(index, json.dumps(found).encode())
    return found


def _first(rows: str | RowFiles, columns: list[str], split: str, most: int) -> pa.Table:
    """Rows of a split that `_Shards` finds the images of."""
    picked = pick(rows, columns, (pc.field("status") == "ok") & (pc.field("split") == split), most)
    if len(picked) == 0:
        raise ValueError(f"{rows}: no captioned row in the {split} split; give validation_images=0")
    return picked


def write_index(bucket: str, size: int, shards: list[str]) -> None:
    """What a bucket's directory holds."""
    storage.write_bytes(storage.join(bucket, INDEX), json.dumps({"image_size": size, "shards": shards}).encode())


def read_index(bucket: str) -> dict[str, Any]:
    """What `write_index` wrote: image_size, shards."""
    about: dict[str, Any] = json.loads(storage.read_bytes(storage.join(bucket, INDEX)))
    return about


class _Shards:
    """A block of rows to one shard in each bucket that it has images for."""

    def __init__(self, target: str, sizes: list[int], split: str = "train") -> None:
        self.target, self.sizes, self.split = target, sizes, split

    def __call__(self, table: pa.Table) -> pa.Table:
        """One line for each shard written."""
        if len(table) and set(table["split"].to_pylist()) != {self.split}:
            raise ValueError(f"leak: a row outside the {self.split} split reached training")
        buckets: dict[int, list[dict[str, Any]]] = {}
        if "image" not in table.column_names:
            table = with_images(table)
        for row in table.select(["sample_id", "image", "caption"]).to_pylist():
            image = decode(row["image"])
            size = max((size for size in self.sizes if size <= min(image.size)), default=self.sizes[0])
            pixels = square(image, size).tobytes()
            buckets.setdefault(size, []).append(row | {"pixels": pixels})
        written = [self._write(size, rows) for size, rows in buckets.items()]
        return pa.Table.from_pylist(written, pa.schema([("size", "int64"), ("file", "string"), ("rows", "int64")]))

    def _write(self, size: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
        text, pixels = pa.string(), pa.binary(3 * size**2)
        schema = pa.schema([("sample_id", text), ("pixels", pixels), ("caption", text)])
        content = json.dumps([size, *((row["sample_id"], row["caption"]) for row in rows)])
        name = hashlib.sha256(content.encode()).hexdigest()[:20] + ".arrow"
        sink = pa.BufferOutputStream()
        shard = pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in rows], schema)
        feather.write_feather(shard, sink, compression="uncompressed")
        storage.write_bytes(storage.join(self.target, str(size), name), sink.getvalue().to_pybytes())
        return {"size": size, "file": name, "rows": len(rows)}
