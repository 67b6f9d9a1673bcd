"""Images in folders that say what they show: `<class>/x.jpg`, `<split>/<class>/x.jpg` or `<class>/<split>/x.jpg`.

Each file is a row; one that is no image is a rejected row. Folders further down say nothing: the class is the first
folder (below the split). A file in no folder has no class.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from dermray import storage
from dermray.datasets.listing import files
from dermray.datasets.splits import official_name

if TYPE_CHECKING:
    from ray.data import Dataset

FILES_PER_BLOCK = 256  # whose images one task fetches and decodes


def read(path: str, to_row: Callable[[dict[str, Any]], dict[str, Any]]) -> tuple["Dataset", Counter[str], int]:
    """A row for every file below `path`, of what its place says; how many files each class has, and how many all.

    `to_row` completes a row. A task lists the files and hands on block after block: the driver holds a reference for
    each.

    Raises:
        ValueError: no file, or folders from which class or split cannot be told.
    """
    import ray
    import ray.data

    listing = ray.remote(num_returns="streaming")(_blocks).remote(path, to_row)
    *blocks, counts = list(listing)
    classes, count = ray.get(counts)  # or raises what the task raised
    return ray.data.from_arrow_refs(blocks), classes, count


def _blocks(path: str, to_row: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[Any]:
    import pyarrow as pa

    from dermray.records import IMAGES, conform

    schema = pa.schema([*IMAGES, ("uri", pa.string())])
    rows, classes, count = rows_of(path), Counter[str](), 0
    while block := list(islice(rows, FILES_PER_BLOCK)):
        classes.update(row["diagnosis"] for row in block if row.get("diagnosis"))
        count += len(block)
        yield conform([to_row(row) for row in block], schema)
    yield classes, count


def rows_of(path: str) -> Iterator[dict[str, Any]]:
    """uri, source_id, and diagnosis and split or the reason why not, of every file; raises as `read` does."""
    examples: dict[str, str] = {}  # a file of each layout
    name = None
    for file in files(path):
        name = file.name
        row: dict[str, Any] = {"uri": storage.join(path, name), "source_id": name}
        if file.reason is not None:
            row |= {"status": "rejected", "reason": file.reason}
        else:
            layout, diagnosis, split = _place(path, name)
            examples.setdefault(layout, name)
            row |= {"diagnosis": diagnosis, "split": split}
            _require_one_layout(path, examples)
        yield row
    if name is None:
        raise ValueError(f"{path}: no file found; expected <class>/<name>.jpg or <split>/<class>/<name>.jpg")


def _place(path: str, name: str) -> tuple[str, str | None, str | None]:
    """Layout, class and split of a file.

    Raises:
        ValueError: several split folders, or one in the middle.
    """
    folders = name.split("/")[:-1]
    splits = [level for level, folder in enumerate(folders) if official_name(folder)]
    if not folders:
        return "none", None, None
    if not splits:
        return "class", folders[0], None
    split = official_name(folders[splits[0]])
    if splits == [0]:
        return "split/class", folders[1] if len(folders) > 1 else None, split
    if splits == [1] and len(folders) == 2:
        return "class/split", folders[0], split
    raise ValueError(
        f"{path}: {name!r} does not tell its class: expected one split folder, first (train/mel/x.jpg) or last "
        "(mel/train/x.jpg) on the way; give the folder that holds train and test as path, or move the files"
    )


def _require_one_layout(path: str, examples: dict[str, str]) -> None:
    with_folders = {layout: name for layout, name in examples.items() if layout != "none"}
    if len(with_folders) > 1:
        raise ValueError(
            f"{path}: folders are mixed, {' but '.join(f'{n!r} as {layout}' for layout, n in with_folders.items())}: "
            "expected all classes to lie alike, with split folders (train, val, test) or without; move one of them"
        )
