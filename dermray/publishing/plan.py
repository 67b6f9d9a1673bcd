"""Rows dealt into shards: which rows of which files make each one, in the order of the result's files."""

from dataclasses import dataclass

from dermray.publishing.selection import Part
from dermray.publishing.survey import FileRows
from dermray.records import SPLITS

NAMES = {"train": "train", "val": "validation", "test": "test"}  # as `datasets` has them


@dataclass(frozen=True)
class Shard:
    """A file of an export, or a folder of images."""

    split: str  # one of SPLITS
    number: int
    of: int  # shards of this split
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """How many are to be in it."""
        return sum(end - first for _, first, end in self.parts)

    @property
    def split_name(self) -> str:
        """As it is called outside."""
        return NAMES[self.split]


def planned(files: list[FileRows], most_bytes: int, most_rows: int) -> list[Shard]:
    """Shards of all splits: always the same ones of the same files.

    Args:
        files: in order. most_bytes: of images in a shard, about: it goes by the mean of each file.
    """
    shards = []
    for split in SPLITS:
        dealt = list(_dealt(files, split, most_bytes, most_rows))
        shards += [Shard(split, number, len(dealt), parts) for number, parts in enumerate(dealt)]
    return shards


def _dealt(files: list[FileRows], split: str, most_bytes: int, most_rows: int) -> list[tuple[Part, ...]]:
    dealt, parts, size, rows = list[tuple[Part, ...]](), list[Part](), 0.0, 0
    for file, bytes_per_image, splits in files:
        first, end = 0, splits.get(split, 0)
        while first < end:
            fit = min(most_rows - rows, int((most_bytes - size) / bytes_per_image))
            if fit < 1 and parts:
                dealt.append(tuple(parts))
                parts, size, rows = [], 0.0, 0
                continue
            taken = min(end - first, max(fit, 1))
            parts.append((file, first, first + taken))
            first, size, rows = first + taken, size + taken * bytes_per_image, rows + taken
    return [*dealt, tuple(parts)] if parts else dealt
