"""The labelled images of a training, by split, read from small columns alone."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray.classification.targets import UNKNOWN, Target, counts
from dermray.datasets.splits import check_leaks
from dermray.manifest import Result
from dermray.picked import FILE, pick
from dermray.records import SPLITS

COLUMNS = ["leak_group", "skin_tone", "skin_tone_source", "split"]


@dataclass(frozen=True)
class Labelled:
    """Images of one split whose label is known."""

    picked: pa.Table  # sample_id, COLUMNS and where each image lies
    labels: np.ndarray  # (N,) int64, numbers of classes

    @property
    def sample_ids(self) -> list[str]:
        """N ids."""
        ids: list[str] = self.picked["sample_id"].to_pylist()
        return ids

    @property
    def tones(self) -> list[str]:
        """N skin tones."""
        return [tone or "unknown" for tone in self.picked["skin_tone"].to_pylist()]


@dataclass(frozen=True)
class Splits:
    """All labelled images, what they are told apart by, and how many there are of what."""

    target: Target
    splits: dict[str, Labelled]  # train, val, test
    images: dict[str, dict[str, int]]  # by split, then by class; those without a label as `unknown`

    @property
    def picked(self) -> pa.Table:
        """Of all splits."""
        return pa.concat_tables([split.picked for split in self.splits.values()])

    @property
    def unknown(self) -> int:
        """How many images are left out because their label is null or no class of the train split."""
        return sum(split.get("unknown", 0) for split in self.images.values())


def read(column: str, classes: tuple[str, ...], *results: Result) -> Splits:
    """The usable rows of some results.

    Args:
        classes: empty for those of the train split.

    Raises:
        ValueError: no such column, fewer than two classes or one without training images, or rows that leak.
    """
    Target.of(column, classes=classes or ("a", "b"))  # a wrong name of a column, before anything is read
    wanted = list(dict.fromkeys([column, *COLUMNS]))
    usable = pc.field("status") == "ok"
    table = pa.concat_tables([pick(result.row_files(), wanted, usable) for result in results])
    if not any(result.manifest.leaking_groups for result in results):  # else they were split by image
        grouped = table.filter(pc.is_valid(table["leak_group"]))
        check_leaks(zip(grouped["leak_group"].to_pylist(), grouped["split"].to_pylist(), strict=True))
    parts = {split: table.filter(pc.equal(table["split"], split)) for split in SPLITS}
    target = Target.of(column, parts["train"][column].to_pylist(), classes)
    labels = {split: target.numbers(part[column].to_pylist()) for split, part in parts.items()}
    images = {split: counts(numbers, target) for split, numbers in labels.items()}
    if lacking := [name for name in target.classes if not images["train"][name]]:
        raise ValueError(
            f"column={column}: no training image of {', '.join(lacking)} among {len(parts['train'])} usable rows of "
            "the train split; ingest some, or take another column or other classes"
        )
    known = {split: Labelled(_without(parts[split], numbers, column), numbers[numbers != UNKNOWN])
             for split, numbers in labels.items()}  # fmt: skip
    return Splits(target, known, images)


def _without(table: pa.Table, numbers: np.ndarray, column: str) -> pa.Table:
    """Rows with a label; without its column, which may have another type in another result."""
    return table.filter(pa.array(numbers != UNKNOWN)).select(["sample_id", *COLUMNS, FILE])
