"""What leaves, counted before anything is written, in small columns: for the plan, the licences and the card."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray import storage
from dermray.exactly_once import hashes
from dermray.publishing.selection import Selection
from dermray.records import SPLITS

KEYS = (
    "split", "source", "origin", "licence", "modality", "malignant", "entity", "skin_tone", "skin_tone_source", "sex",
)  # fmt: skip
MISSING = (
    "patient_id", "lesion_id", "diagnosis", "entity", "malignant", "modality", "fitzpatrick", "skin_tone", "age", "sex",
    "site", "licence",
)  # fmt: skip
CAPTION = "caption"
READ = list(dict.fromkeys([*KEYS, *MISSING, "leak_group", "modification", "original_id", CAPTION]))


class FileRows(NamedTuple):
    """The chosen rows of a Parquet file."""

    file: str
    bytes_per_image: float  # the mean of all its rows
    splits: dict[str, int]


@dataclass
class Survey:
    """Of some files; `merge` adds others up."""

    rows: Counter[tuple[Any, ...]] = field(default_factory=Counter)  # by KEYS
    missing: Counter[str] = field(default_factory=Counter)  # by column
    left_out: Counter[tuple[str, str | None]] = field(default_factory=Counter)  # by source and licence
    files: list[FileRows] = field(default_factory=list)
    modified: int = 0  # images as found in which the decoder sees other pixels than a plain reader: of earlier versions
    normalised: int = 0  # the image is no longer the source's own file
    captions: int = 0
    groups: list[np.ndarray] = field(default_factory=list)  # (N,) uint64 hashes of leak groups; with `in_split`
    in_split: list[np.ndarray] = field(default_factory=list)  # (N,) int8 places in SPLITS

    def merge(self, other: "Survey") -> None:
        """Add another's counts."""
        for name in ("rows", "missing", "left_out"):
            getattr(self, name).update(getattr(other, name))
        self.files += other.files
        for name in ("modified", "normalised", "captions"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.groups += other.groups
        self.in_split += other.in_split

    def by(self, *names: str) -> Counter[tuple[Any, ...]]:
        """Rows by some of KEYS."""
        places = [KEYS.index(name) for name in names]
        counts: Counter[tuple[Any, ...]] = Counter()
        for key, number in self.rows.items():
            counts[tuple(key[place] for place in places)] += number
        return counts

    @property
    def splits(self) -> dict[str, int]:
        """Rows of those splits that have any, in order."""
        counts = self.by("split")
        return {split: counts[split,] for split in SPLITS if counts[split,]}

    def leak_groups(self) -> int:
        """How many there are. Takes seconds where there are 10^7 rows.

        Raises:
            RuntimeError: one lies in two splits.
        """
        if not self.groups:
            return 0
        groups, splits = np.concatenate(self.groups), np.concatenate(self.in_split)
        order = np.argsort(groups)
        groups, splits = groups[order], splits[order]
        same = groups[1:] == groups[:-1]
        if crossing := len(np.unique(groups[1:][same & (splits[1:] != splits[:-1])])):
            raise RuntimeError(
                f"{crossing} leak groups lie in two splits: the same patient, lesion or photograph would be trained on "
                "and tested on. Make the ingest result again"
            )
        return len(groups) - int(np.count_nonzero(same))


def surveyed(files: Sequence[str], selection: Selection) -> Survey:
    """Some Parquet files, one after the other. To be called in a Ray task."""
    survey = Survey()
    for file in files:
        asked_for = selection.asked_for(file, READ)
        forbidden = selection.forbidden(asked_for)
        if selection.leave_out_forbidden:
            _count(survey.left_out, asked_for.filter(forbidden), ("source", "licence"))
            asked_for = asked_for.filter(pc.invert(forbidden))
        _add(survey, asked_for, file)
    return survey


def _add(survey: Survey, table: pa.Table, file: str) -> None:
    if not len(table):
        return
    _count(survey.rows, table, KEYS)
    survey.missing.update({name: table[name].null_count for name in MISSING})
    as_found = table.filter(pc.is_null(table["original_id"]))
    survey.modified += len(as_found) - as_found["modification"].null_count
    survey.normalised += len(table) - table["original_id"].null_count
    survey.captions += len(table) - table[CAPTION].null_count
    splits = Counter(table["split"].to_pylist())
    if strange := set(splits) - set(SPLITS):
        raise ValueError(f"{file}: rows with status ok and split {strange}; expected one of {SPLITS}")
    survey.files.append(FileRows(file, _bytes_per_image(file), dict(splits)))
    grouped = table.filter(pc.is_valid(table["leak_group"]))
    if len(grouped):
        survey.groups.append(hashes(grouped["leak_group"].combine_chunks()))
        survey.in_split.append(np.array([SPLITS.index(name) for name in grouped["split"].to_pylist()], np.int8))


def _count(counts: Counter[Any], table: pa.Table, names: tuple[str, ...]) -> None:
    number = "count_all"
    for row in table.group_by(list(names), use_threads=False).aggregate([([], number)]).to_pylist():
        counts[tuple(row[name] for name in names)] += row[number]


def _bytes_per_image(file: str) -> float:
    """By the footer alone."""
    with storage.open_parquet(file) as parquet:
        footer = parquet.metadata
        number = parquet.schema_arrow.get_field_index("image")
        sizes = [footer.row_group(group).column(number).total_compressed_size for group in range(footer.num_row_groups)]
        return max(1.0, sum(sizes) / max(1, footer.num_rows))
