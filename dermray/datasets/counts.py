"""What an ingest's rows add up to, in one reading of a few columns."""

from collections import Counter
from dataclasses import dataclass, field

from dermray.columns import Tally, tally
from dermray.records import SPLITS

LABELS = {True: "malignant", False: "benign", None: "without a label"}


@dataclass
class Counts:
    """Rows by what they are."""

    statuses: Tally = field(default_factory=Counter)
    licences: set[str] = field(default_factory=set)  # of usable rows
    modifications: Counter[str] = field(default_factory=Counter)  # of usable images, by what the decoder changed
    labels: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LABELS.values(), 0))  # of usable rows
    splits: dict[str, int] = field(default_factory=dict)


def count(rows: str) -> Counts:
    """Of the Parquet files below `rows`. To be called in a Ray task: it reads for minutes where there are 10^7."""
    counts, splits = Counts(), Counter[str]()
    found = tally(rows, ["licence", "modification", "malignant", "split"])
    for (status, reason, licence, modification, malignant, split), number in found.items():
        counts.statuses[status, reason] += number
        splits[split] += number
        if status == "ok":
            counts.licences.add(licence or "unknown")
            counts.labels[LABELS[malignant]] += number
            for note in modification.split("; ") if modification else ():
                counts.modifications[note] += number
    counts.splits = {name: splits[name] for name in sorted(SPLITS) if splits[name]}
    return counts
