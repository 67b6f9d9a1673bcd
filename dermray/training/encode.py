"""Decode and resize every training image once, in Ray Data, into shards that workers map into memory.

A shard is an uncompressed Arrow file of (sample_id, pixels, caption), so a picture never parts from its caption; its
name is a hash of what it holds. Images of one size lie in one directory, a bucket, whose `index.json` lists its shards;
the `index.json` above them is written last and lists the buckets.

A block of about SHARD_BYTES of pixels becomes one shard in each bucket that it has images for: there are never more
shards than buckets times blocks, and those of a bucket that has few images are small.

Training mixes images within a window of shards (`order`), so shards should be mixed themselves, and sources often come
class by class. The rows' files, of at most some hundred rows each, are read in a random order, always the same, and
joined to blocks in that order. To shuffle single rows instead, Ray Data would move every image between nodes once more
and hold all of them, spilled to disks, before the first could be decoded: 200 GB at a million images. This way they
stream, and the same rows give the same shards, by which encoded samples are found.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather

from dermray import storage
from dermray.datasets.decode import decode, square
from dermray.picked import pick, with_images
from dermray.progress import files_written, watched
from dermray.row_files import RowFiles, row_files
from dermray.training.aspects import AspectConfig, cut, name_of, shape_for, sides, summed
from dermray.training.several_captions import MoreCaptions

INDEX = "index.json"
CROPS = "crops.json"  # beside the index of the buckets, where images keep their shape
SHARD_BYTES = 128 << 20
WINDOW = 64  # full shards whose images are shuffled together; a node has room for two windows of each bucket
DECODED = 32  # images decoded at a time


class Index(TypedDict):
    """What a bucket's directory holds. An older index does not say how many rows each shard has, and no window."""

    image_size: int | str  # px of a side, or WIDTHxHEIGHT
    shards: list[str]
    rows: list[int] | None
    window: int | None  # images; kept, so that a training under way goes on in its order whatever WINDOW is by then


def encode(
    rows: str | RowFiles,
    target: str,
    sizes: list[int],
    split: str = "train",
    most: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    least_side: int = 0,
    more: MoreCaptions | None = None,
    aspects: AspectConfig | None = None,
) -> dict[int | str, int]:
    """Captioned rows of a split at `rows` to shards in `target`/SIZE. Done once: an index found is the answer.

    Args:
        sizes: px. An image goes to the largest that its shorter side fills, to the smallest if it fills none.
        most: rows, if not all: those with the least ids, which are hashes. shard_bytes: of pixels, about.
        least_side: px; images with a shorter side are left out. more: captions beside the rows' own.
        aspects: images keep their shape, of about the area of a size; buckets are then called WIDTHxHEIGHT.

    Returns:
        Images by size, for sizes that have any.

    Raises:
        ValueError: no such row.
    """
    index = storage.join(target, INDEX)
    if storage.exists(index):
        there = json.loads(storage.read_bytes(index))
        return {int(size) if size.isdigit() else size: rows for size, rows in there.items()}
    import ray.data
    from ray.data.expressions import col

    storage.delete_tree(target)
    storage.make_directory(target)
    sizes = sorted(sizes)
    if most is None:
        columns = ["sample_id", "image", "caption", "split", "status", "width", "height"]
        data = row_files(rows).usable_in_ray(columns, order=mixed).filter(expr=_wanted(split, least_side, col))
    else:
        data = ray.data.from_arrow(_first(rows, split, most, least_side))
    data.context.execution_options.preserve_order = True
    further = None if more is None else ray.put(more)
    images = data.map_batches(
        decoded,
        fn_args=(sizes, split, further, aspects),
        batch_format="pyarrow",
        batch_size=DECODED,
        zero_copy_batch=True,
    )
    block = max(1, int(shard_bytes / _mean_bytes(rows, split, sizes, least_side)))
    shards = images.repartition(target_num_rows_per_block=block, strict=True).map_batches(
        write_shards, fn_args=(target,), batch_format="pyarrow", batch_size=None, zero_copy_batch=True
    )
    with watched(files_written(target, ".arrow", "shards written")):
        listed = shards.take_all()  # one line a shard
    if not listed:
        raise ValueError(
            f"{rows}: no captioned row in the {split} split{_of(least_side)}; check the split and the caption stage's "
            "counts"
        )
    if aspects is not None:
        storage.write_bytes(storage.join(target, CROPS), json.dumps(summed(listed)).encode())
    found: dict[int | str, int] = {}
    for size in sorted({shard["size"] for shard in listed}, key=sides):
        mine = {shard["file"]: shard["rows"] for shard in listed if shard["size"] == size}
        found[size] = sum(mine.values())
        write_index(storage.join(target, str(size)), size, mine, max(1, WINDOW * shard_bytes // bytes_of(size)))
    storage.write_bytes(index, json.dumps(found).encode())
    return found


def bytes_of(size: int | str) -> int:
    """Of the pixels of an image."""
    return 3 * math.prod(sides(size))


def read_crops(target: str) -> dict[str, dict[str, float]]:
    """By shape what became of its images, where they keep their shape: how many, the share that is kept on average and
    at least, how many were enlarged."""
    crops: dict[str, dict[str, float]] = json.loads(storage.read_bytes(storage.join(target, CROPS)))
    return crops


def mixed(file: str) -> bytes:
    """What files are sorted by to be in a random order that is always the same, wherever they lie."""
    return hashlib.sha256(file.rpartition("/")[2].encode()).digest()


def _wanted(split: str, least_side: int, column: Callable[[str], Any]) -> Any:
    """Which rows, as an expression of Ray's or Arrow's columns."""
    wanted = column("split") == split
    return wanted & at_least(least_side, column) if least_side else wanted


def at_least(side: int, column: Callable[[str], Any] = pc.field) -> Any:
    """Images none of whose sides is shorter, in px."""
    return (column("width") >= side) & (column("height") >= side)


def _of(least_side: int) -> str:
    return f" whose image has {least_side} px a side" if least_side else ""


def _mean_bytes(rows: str | RowFiles, split: str, sizes: list[int], least_side: int) -> float:
    """Of the pixels of an image, over all buckets."""
    if len(sizes) == 1:
        return bytes_of(sizes[0])
    usable = (pc.field("status") == "ok") & _wanted(split, least_side, pc.field)
    sides = {"side": pc.min_element_wise(pc.field("width"), pc.field("height"))}
    images = np.zeros(len(sizes))
    for scanner in row_files(rows).scanners(sides, usable):
        for batch in scanner.to_batches():
            images += np.bincount(_bucket(sizes, batch["side"].to_numpy(zero_copy_only=False)), minlength=len(sizes))
    return float(np.average([bytes_of(size) for size in sizes], weights=images)) if images.any() else bytes_of(sizes[0])


def _bucket(sizes: list[int], sides: np.ndarray) -> np.ndarray:
    """Which of the sizes, in ascending order, images go to whose shorter sides are given."""
    buckets: np.ndarray = np.searchsorted(sizes, sides, side="right") - 1
    return np.maximum(buckets, 0)


def _first(rows: str | RowFiles, split: str, most: int, least_side: int = 0) -> pa.Table:
    """Rows of a split that `decoded` reads the images of."""
    usable = (pc.field("status") == "ok") & _wanted(split, least_side, pc.field)
    picked = pick(rows, ["caption", "split", "status"], usable, most)
    if len(picked) == 0:
        raise ValueError(f"{rows}: no captioned row in the {split} split{_of(least_side)}; give validation_images=0")
    return picked


def write_index(bucket: str, size: int | str, shards: dict[str, int], window: int | None = None) -> None:
    """What a bucket's directory holds.

    Args:
        shards: images in each. window: how many images are shuffled together; all, if not given.
    """
    names = sorted(shards)
    index = Index(image_size=size, shards=names, rows=[shards[name] for name in names], window=window)
    storage.write_bytes(storage.join(bucket, INDEX), json.dumps(index).encode())


def read_index(bucket: str) -> Index:
    """What `write_index` wrote."""
    index: Index = {"rows": None, "window": None} | json.loads(storage.read_bytes(storage.join(bucket, INDEX)))
    return index


def decoded(
    table: pa.Table, sizes: list[int], split: str, further: Any = None, aspects: AspectConfig | None = None
) -> pa.Table:
    """Rows with the pixels of their images at the size of their bucket, and that size.

    Args:
        further: MoreCaptions, or where they lie in Ray's store, if there are any.

    Raises:
        ValueError: a row of another split.
    """
    if set(table["split"].to_pylist()) - {split}:
        raise ValueError(f"leak: a row outside the {split} split reached training")
    if "image" not in table.column_names:
        table = with_images(table)
    images = [decode(image) for image in table["image"].to_pylist()]
    kept = table.select(["sample_id", "caption"])
    if further is not None:
        texts = _more(further).of(table["sample_id"].to_pylist(), table["caption"].to_pylist())
        kept = kept.append_column("more", pa.array(texts, pa.list_(pa.string())))
    return _in_shapes(kept, images, sizes, aspects) if aspects else _in_squares(kept, images, sizes)


def _in_squares(kept: pa.Table, images: list[Any], sizes: list[int]) -> pa.Table:
    buckets = _bucket(sizes, np.array([min(image.size) for image in images], np.int64)).tolist()
    size = [sizes[bucket] for bucket in buckets]
    pixels = [square(image, side).tobytes() for image, side in zip(images, size, strict=True)]
    return kept.append_column("pixels", pa.array(pixels, pa.binary())).append_column("size", pa.array(size, pa.int64()))


def _in_shapes(rows: pa.Table, images: list[Any], sizes: list[int], aspects: AspectConfig) -> pa.Table:
    """Beside pixels and size, the share of an image that is kept, and whether it was enlarged."""
    chosen = [shape_for(image.size, sizes, aspects) for image in images]
    cuts = [cut(image, shape, aspects) for image, shape in zip(images, chosen, strict=True)]
    columns = {
        "pixels": pa.array([one.pixels.tobytes() for one in cuts], pa.binary()),
        "size": pa.array(map(name_of, chosen), pa.string()),
        "kept": pa.array([one.kept for one in cuts], pa.float64()),
        "enlarged": pa.array([one.enlarged for one in cuts], pa.bool_()),
    }
    for name, column in columns.items():
        rows = rows.append_column(name, column)
    return rows


def _more(further: Any) -> MoreCaptions:
    if isinstance(further, MoreCaptions):
        return further
    import ray

    found: MoreCaptions = ray.get(further)
    return found


def write_shards(table: pa.Table, target: str) -> pa.Table:
    """A block of what `decoded` made to one shard in each bucket that it has images for. One line for each."""
    written = [_write(target, size, part) for size, part in _by_size(table)]
    columns = [("size", table.schema.field("size").type), ("file", "string"), ("rows", "int64")]
    if "kept" in table.column_names:
        columns += [("kept", "float64"), ("least_kept", "float64"), ("enlarged", "int64")]
    return pa.Table.from_pylist(written, pa.schema(columns))


def _by_size(table: pa.Table) -> Iterator[tuple[int | str, pa.Table]]:
    for size in sorted(table["size"].unique().to_pylist()):
        ours = pc.equal(table["size"], size)
        yield size, table if pc.all(ours).as_py() else table.filter(ours)  # the whole is not copied


def _write(target: str, size: int | str, rows: pa.Table) -> dict[str, Any]:
    """One shard. Beside the block, which lies in Ray's store, its bytes are held twice for a moment.

    All rows are one record batch: a reader of one column, such as the captions alone, asks S3 for each batch.
    """
    named = ["sample_id", "caption", *(["more"] if "more" in rows.column_names else [])]
    content = json.dumps([size, *zip(*(rows[name].to_pylist() for name in named), strict=True)])
    name = hashlib.sha256(content.encode()).hexdigest()[:20] + ".arrow"
    sink = pa.BufferOutputStream()
    whole = rows.select(["sample_id", "pixels", *named[1:]]).combine_chunks()
    feather.write_feather(whole, sink, compression="uncompressed", chunksize=max(1, len(rows)))
    storage.write_bytes(storage.join(target, str(size), name), memoryview(sink.getvalue()))
    line: dict[str, Any] = {"size": size, "file": name, "rows": len(rows)}
    if "kept" in rows.column_names:
        kept, enlarged = rows["kept"].to_numpy(), pc.sum(rows["enlarged"]).as_py()
        line |= {"kept": float(kept.mean()), "least_kept": float(kept.min()), "enlarged": enlarged}
    return line
