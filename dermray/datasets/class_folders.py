"""Images in folders that say what they show: `<class>/x.jpg`, `<split>/<class>/x.jpg` or `<class>/<split>/x.jpg`.

Each file is a row; one that is no image is a rejected row. Folders further down say nothing: the class is the first
folder (below the split). A file in no folder has no class.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from dermray import storage
from dermray.datasets.listing import File, files, level
from dermray.datasets.sources import Reading
from dermray.datasets.splits import official_name

if TYPE_CHECKING:
    from ray.data import Dataset

FILES_PER_BLOCK = 256  # whose images one task fetches and decodes
ROWS_PER_LISTING = 1 << 13  # that a listing task hands on at a time
LEVELS = 2  # of folders whose folders are listed by other tasks; each lists all that is below its own
SHARES = 32  # at most, that the folders found by a task are dealt into
ToRow = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass
class Told:
    """What a part of a listing says of all its files."""

    classes: Counter[str] = field(default_factory=Counter)  # files of each
    count: int = 0  # of all files
    examples: dict[str, str] = field(default_factory=dict)  # a file of each layout
    shares: int = 0  # of folders that are still to be listed

    def add(self, other: "Told") -> None:
        """Count these too."""
        self.classes += other.classes
        self.count += other.count
        self.examples |= other.examples


def read(path: str, to_row: ToRow) -> tuple["Dataset", Counter[str], int]:
    """A row for every file below `path`, of what its place says; how many files each class has, and how many all.

    `to_row` completes a row. Tasks list the folders, many at once, and hand on block after block: the driver holds a
    reference for each.

    Raises:
        ValueError: no file, or folders from which class or split cannot be told.
    """
    import ray
    import ray.data

    task = ray.remote(num_returns="streaming")(_listed)
    told, blocks, shares = Told(), list[Any](), [ray.put([""])]
    for levels in range(LEVELS, -1, -1):
        listings = [task.remote(path, to_row, share, levels) for share in shares]
        shares = []
        for listing in listings:
            *parts, last = list(listing)
            part: Told = ray.get(last)  # or raises what the task raised
            told.add(part)
            require_one_layout(path, told)
            first_share = len(parts) - part.shares
            blocks += parts[:first_share]
            shares += parts[first_share:]
    if not told.count:
        raise ValueError(f"{path}: no file found; expected <class>/<name>.jpg or <split>/<class>/<name>.jpg")
    rows = ray.data.from_arrow_refs(blocks)
    return rows.repartition(target_num_rows_per_block=FILES_PER_BLOCK, strict=True), told.classes, told.count


def reading(files: "Dataset", facts: dict[str, Any], count: int) -> Reading:
    """What `read` gave, as a source's: the rows of files are known when these are listed."""
    return Reading(files, _themselves, facts, count, together=FILES_PER_BLOCK)


def _themselves(rows: Any) -> Iterator[Any]:
    yield rows


def _listed(path: str, to_row: ToRow, share: list[str], levels: int) -> Iterator[Any]:
    """Blocks of rows, then shares of folders that other tasks are to list, then what is told of them."""
    import pyarrow as pa

    from dermray.records import IMAGES, conform

    schema, told, folders = pa.schema([*IMAGES, ("uri", pa.string())]), Told(), list[str]()
    rows = rows_of(path, _files(path, share, folders if levels else None), told)
    while block := list(islice(rows, ROWS_PER_LISTING)):
        yield conform([to_row(row) for row in block], schema)
    told.shares = min(SHARES, len(folders))
    yield from (folders[i :: told.shares] for i in range(told.shares))
    yield told


def _files(path: str, share: list[str], folders: list[str] | None) -> Iterator[File]:
    """All files in and below a share of the folders. With `folders` those below are left out, and their folders go
    there."""
    for folder in share:
        for entry in files(path, folder) if folders is None else level(path, folder):
            if isinstance(entry, File):
                yield entry
            elif folders is not None:
                folders.append(entry)


def rows_of(path: str, listing: Iterable[File], told: Told) -> Iterator[dict[str, Any]]:
    """uri, source_id, and diagnosis and split or the reason why not, of every file; `told` counts them.

    Raises:
        ValueError: folders from which class or split cannot be told.
    """
    for file in listing:
        row: dict[str, Any] = {"uri": storage.join(path, file.name), "source_id": file.name}
        if file.reason is not None:
            row |= {"status": "rejected", "reason": file.reason}
        else:
            layout, diagnosis, split = _place(path, file.name)
            row |= {"diagnosis": diagnosis, "split": split}
            told.examples.setdefault(layout, file.name)
            require_one_layout(path, told)
            if diagnosis:
                told.classes[diagnosis] += 1
        told.count += 1
        yield row


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


def require_one_layout(path: str, told: Told) -> None:
    """Raises ValueError where some classes lie below split folders and some do not."""
    with_folders = {layout: name for layout, name in told.examples.items() if layout != "none"}
    if len(with_folders) > 1:
        raise ValueError(
            f"{path}: folders are mixed, {' but '.join(f'{n!r} as {layout}' for layout, n in with_folders.items())}: "
            "expected all classes to lie alike, with split folders (train, val, test) or without; move one of them"
        )
