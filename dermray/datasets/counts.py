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
    licences: Tally = field(default_factory=Counter)  # of usable rows: (source, licence), "unknown" where there is none
    modifications: Counter[str] = field(default_factory=Counter)  # of usable images, by what the decoder changed
    labels: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LABELS.values(), 0))  # of usable rows
    splits: dict[str, int] = field(default_factory=dict)
    skin_tones: dict[str, int] = field(default_factory=dict)  # of usable rows, apart by where they come from


def count(rows: str) -> Counts:
    """Of the Parquet files below `rows`. To be called in a Ray task: it reads for minutes where there are 10^7."""
    counts, splits, tones = Counts(), Counter[str](), Counter[str]()
    read = ["source", "licence", "modification", "malignant", "split", "skin_tone", "skin_tone_source"]
    for (status, reason, source, licence, modification, malignant, split, tone, by), number in tally(
        rows, read
    ).items():
        counts.statuses[status, reason] += number
        splits[split] += number
        if status == "ok":
            counts.licences[source, licence or "unknown"] += number
            counts.labels[LABELS[malignant]] += number
            tones[f"{tone} ({by})" if tone else "unknown"] += number
            for note in modification.split("; ") if modification else ():
                counts.modifications[note] += number
    counts.splits = {name: splits[name] for name in sorted(SPLITS) if splits[name]}
    counts.skin_tones = dict(sorted(tones.items()))
    return counts
