"""Decode and resize every training image once, in Ray Data, into shards that workers map into memory.

A shard is an uncompressed Arrow file of (sample_id, pixels, caption): a picture never parts from its caption.
`index.json` is written last and lists the shards.
"""

import hashlib
import json
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather

from dermray import storage
from dermray.datasets.decode import decode, square

INDEX = "index.json"


def encode(rows: str, target: str, image_size: int, rows_per_shard: int = 2048) -> dict[str, Any]:
    """Captioned rows of the train split at `rows` to shards below `target`. Done once: an index found is the answer.

    Raises:
        ValueError: no such row.
    """
    index = storage.join(target, INDEX)
    if storage.exists(index):
        found: dict[str, Any] = json.loads(storage.read_bytes(index))
        return found
    import ray.data
    from ray.data.expressions import col

    storage.delete_tree(target)
    storage.make_directory(target)
    system, path = storage.filesystem(rows)
    columns = ["sample_id", "image", "caption", "split", "status"]
    data = ray.data.read_parquet(path, filesystem=system, columns=columns)
    data = data.filter(expr=(col("status") == "ok") & (col("split") == "train"))
    shards = data.repartition(target_num_rows_per_block=rows_per_shard).map_batches(
        _Shard(target, image_size), batch_format="pyarrow", batch_size=None
    )
    listed = sorted(shards.take_all(), key=lambda shard: str(shard["file"]))  # one line a shard
    if not listed:
        raise ValueError(f"{rows}: no captioned row in the train split; check the split and the caption stage's counts")
    about = {"image_size": image_size, "rows": sum(s["rows"] for s in listed), "shards": [s["file"] for s in listed]}
    storage.write_bytes(index, json.dumps(about).encode())
    return about


class _Shard:
    def __init__(self, target: str, image_size: int) -> None:
        self.target, self.image_size = target, image_size

    def __call__(self, table: pa.Table) -> pa.Table:
        if len(table) == 0:
            return pa.table({"file": pa.array([], pa.string()), "rows": pa.array([], pa.int64())})
        if set(table["split"].to_pylist()) != {"train"}:
            raise ValueError("leak: a row outside the train split reached training")
        pixels = [square(decode(image), self.image_size).tobytes() for image in table["image"].to_pylist()]
        shard = pa.table(
            {
                "sample_id": table["sample_id"],
                "pixels": pa.array(pixels, pa.binary(3 * self.image_size**2)),
                "caption": table["caption"],
            }
        )
        name = hashlib.sha256("".join(table["sample_id"].to_pylist()).encode()).hexdigest()[:16] + ".arrow"
        sink = pa.BufferOutputStream()
        feather.write_feather(shard, sink, compression="uncompressed")
        storage.write_bytes(storage.join(self.target, name), sink.getvalue().to_pybytes())
        return pa.table({"file": [name], "rows": [len(shard)]})
