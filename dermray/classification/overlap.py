"""Which test images show what was seen in training: the same bytes, patient or lesion, or nearly the same picture.

Leak groups are numbers within one ingest result, so those of two results cannot be compared. Here rows are compared by
what groups are made of, and a test row that is shared takes its whole leak group with it.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray import storage
from dermray.columns import batches
from dermray.datasets.decode import decode
from dermray.datasets.near_duplicates import fingerprint, fingerprints, near_duplicates
from dermray.datasets.splits import leak_groups
from dermray.row_files import RowFiles

IDS = ("sample_id", "patient_id", "lesion_id")
NEAR, GROUP = "near duplicate", "leak group"
PRINT_COLUMNS = ["sample_id", "hash", "thumbnail"]
DONE = "done.json"  # written last: the directory's fingerprints are whole
DECODED = 32  # images decoded at a time


def shared(test: pa.Table, seen: pa.Table, near: pa.Array | None = None) -> dict[str, np.ndarray]:
    """(N,) masks of the test rows that are shared, by what they share.

    Args:
        test: with IDS and leak_group. seen: with IDS, of what was trained on. near: sample ids of test images that are
            near duplicates of those seen.
    """
    masks = {name: _among(test[name], seen[name]) for name in IDS}
    masks[NEAR] = _among(test["sample_id"], near) if near is not None else np.zeros(len(test), bool)
    direct = np.logical_or.reduce(list(masks.values()))
    groups = test["leak_group"].filter(pa.array(direct))
    masks[GROUP] = direct | _among(test["leak_group"], groups)
    return masks


def counted(masks: dict[str, np.ndarray]) -> dict[str, int]:
    """How many test images share what, those that share nothing but a leak group with others among them; and how many
    in all."""
    direct = np.logical_or.reduce([mask for name, mask in masks.items() if name != GROUP])
    counts = {name.replace("_id", "").replace("sample", "same image"): int(mask.sum()) for name, mask in masks.items()}
    return counts | {GROUP: int((masks[GROUP] & ~direct).sum()), "all": int(masks[GROUP].sum())}


def in_words(found: dict[str, int]) -> str:
    """Of `counted`: "6 by same image, 2 by patient"; empty where nothing is shared."""
    return ", ".join(f"{number} by {what}" for what, number in found.items() if number and what != "all")


def _among(values: Any, known: Any) -> np.ndarray:
    """Null is among nothing."""
    values, known = (_chunked(each) for each in (values, known))
    return pc.and_(pc.is_valid(values), pc.is_in(values, value_set=known.drop_null())).to_numpy(zero_copy_only=False)


def _chunked(values: Any) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def write_fingerprints(rows: RowFiles, splits: Sequence[str], target: str) -> None:
    """Fingerprints of usable rows, in Ray Data, as Parquet of PRINT_COLUMNS below `target`. Done once.

    Args:
        splits: those whose rows count; none for all.
    """
    if storage.exists(storage.join(target, DONE)):
        return
    from ray.data.expressions import col

    storage.delete_tree(target)
    storage.make_directory(target)
    system, path = storage.filesystem(target)
    images = rows.usable_in_ray(["sample_id", "image", "split", "status"])
    if splits:
        images = images.filter(expr=col("split").is_in([*splits]))
    prints = images.map_batches(_prints, batch_format="pyarrow", batch_size=DECODED, zero_copy_batch=True)
    prints.write_parquet(path, filesystem=system)
    storage.write_bytes(storage.join(target, DONE), json.dumps({"splits": [*splits]}).encode())


def _prints(table: pa.Table) -> pa.Table:
    found = [fingerprint(decode(image)) for image in table["image"].to_pylist()]
    hashes, thumbnails = pa.array([h for h, _ in found], pa.uint64()), pa.array([t for _, t in found], pa.binary())
    return pa.table([table["sample_id"], hashes, thumbnails], names=PRINT_COLUMNS)


def near_in(test: str, seen: Sequence[str]) -> pa.Array:
    """Sample ids of the test images that nearly equal one seen, or another test image that does.

    Args:
        test, seen: directories of `write_fingerprints`.
    """
    tested, others = _read([test]), _read(seen)
    both = pa.concat_tables([tested, others])
    if not len(both):
        return _chunked(tested["sample_id"])
    groups = leak_groups([np.arange(len(both))], near_duplicates(*fingerprints(both)).links)
    across = np.isin(groups[: len(tested)], groups[len(tested) :])
    return _chunked(tested["sample_id"].filter(pa.array(across)))


def _read(places: Sequence[str]) -> pa.Table:
    found = [batch for place in places for batch in batches(place, PRINT_COLUMNS)]
    schema = pa.schema([("sample_id", pa.string()), ("hash", pa.uint64()), ("thumbnail", pa.binary())])
    return pa.Table.from_batches(found, schema) if found else schema.empty_table()
