"""Pixels and labels for a sweep. A module of its own: the task that reads them imports no classifier."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray.classification import attributes
from dermray.classification.attributes import attributes_of
from dermray.datasets.pixels import pixels
from dermray.datasets.splits import check_leaks
from dermray.manifest import Result
from dermray.picked import pick

COLUMNS = ["malignant", "leak_group", "split"]
TEST_COLUMNS = COLUMNS + attributes.COLUMNS


def load(rows: Result, synthetic: Result, max_test_images: int) -> dict[str, Any]:
    """Of the real train split, of the synthetic images, and of the first `max_test_images` of the real test split.

    Returns:
        real, synthetic, test: (N, 3, S, S) uint8. real_labels, synthetic_labels, test_labels: (N,) bool, malignant.
        test_attributes: N names by attribute. test_groups: N leak groups.

    Raises:
        ValueError: rows of one class only, or leaking ones.
    """
    real = (pc.field("status") == "ok") & pc.field("malignant").is_valid() & (pc.field("origin") == "real")
    source = rows.row_files()
    train_rows = pick(source, COLUMNS, real & (pc.field("split") == "train"))
    test_rows = pick(source, TEST_COLUMNS, real & (pc.field("split") == "test"), max_test_images)
    both = pa.concat_tables([table.select(COLUMNS) for table in (train_rows, test_rows)])
    check_leaks(zip(both["leak_group"].to_pylist(), both["split"].to_pylist(), strict=True))
    drawn = pick(synthetic.row_files(), COLUMNS, pc.field("status") == "ok")
    for name, table in (("train", train_rows), ("test", test_rows), ("synthetic", drawn)):
        if len(set(table["malignant"].to_pylist())) < 2:
            raise ValueError(f"{name} rows hold {len(table)} images of one class or none: the sweep needs both classes")
    size = image_size(synthetic)
    return {
        "real": pixels(train_rows, size),
        "real_labels": _labels(train_rows),
        "synthetic": pixels(drawn, size),
        "synthetic_labels": _labels(drawn),
        "test": pixels(test_rows, size),
        "test_labels": _labels(test_rows),
        "test_attributes": attributes_of(test_rows),
        "test_groups": test_rows["leak_group"].to_pylist(),
    }


def image_size(synthetic: Result) -> int:
    """Side in px of the smallest that a generator drew, and so of all images of the sweep.

    Raises:
        ValueError: it drew nothing usable.
    """
    usable = synthetic.row_files().scanners(["width"], pc.field("status") == "ok")
    sides = [side for part in usable if (side := pc.min(part.to_table()["width"]).as_py()) is not None]
    if not sides:
        raise ValueError(f"synthetic={synthetic.uri}: no usable image; look at the reasons in its manifest")
    return int(min(sides))


def _labels(table: pa.Table) -> np.ndarray:
    return np.array(table["malignant"].to_pylist(), bool)
